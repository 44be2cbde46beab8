"""GCG: search for a suffix that makes the model begin to comply.

Source: Zou et al. 2023 (arXiv 2307.15043), algorithm 1 without the loop over prompts: the gradient of the target's loss
with respect to a one-hot suffix names promising tokens for every position; random single swaps among them are tried,
the best becomes the suffix. Each model and prompt gets a search of its own, and the best suffix found is used. Not
as strong as with the paper's 500 steps of 512 swaps: see the settings.
Shapes: s suffix tokens, c candidates, t target tokens, v vocabulary, d hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.data.prompts import render
from securetune.errors import DataError
from securetune.evaluate.attacks.base.interface import Attack, Settings

_PLACE = "<suffix here>"


class Search(Settings):
    """Settings of GCG."""

    steps: int = Field(default=50, ge=1)
    """Swaps in a row."""
    width: int | None = Field(default=128, ge=1)
    """Random swaps tried in every step; None tries all of them."""
    top: int = Field(default=64, ge=1)
    """Tokens per position that the gradient proposes."""
    target: str = "Sure, here is"
    """What the answer is to begin with."""
    start: str = "! ! ! ! ! ! ! ! ! !"
    """The first suffix."""
    batch_size: int = Field(default=64, ge=1)
    """Swaps computed together."""
    seed: int = 0
    """Seed of the random swaps."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Everything around the suffix, as token ids on the model's device."""

    before: Int[Tensor, " b"]
    after: Int[Tensor, " a"]
    """End of the user's message and start of the model's."""
    target: Int[Tensor, " t"]


class Gcg(Attack):
    """Greedy coordinate gradient."""

    paper = "Zou et al. 2023 (arXiv 2307.15043)"
    Settings = Search
    searches = True

    def search(
        self, model: PreTrainedModel | None, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]
    ) -> list[str]:
        """Every prompt with the best suffix found for it."""
        assert model is not None
        return [f"{prompt} {self._suffix(model, tokenizer, prompt)}" for prompt in prompts]

    def _suffix(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
        rendered = render(tokenizer, [f"{prompt} {_PLACE}"])[0]
        if rendered.count(_PLACE) != 1:
            raise DataError("Expected a chat template that keeps the message as it is, found one that changes it.")

        def ids(text: str) -> Tensor:
            return torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"], device=model.device)

        before, after = rendered.split(_PLACE)
        frame = Frame(before=ids(before), after=ids(after), target=ids(self.settings.target))
        suffix, history = ids(self.settings.start), []
        generator = torch.Generator().manual_seed(self.settings.seed)
        for _ in range(self.settings.steps):
            suffix, loss = step(model, tokenizer, frame, suffix, self.settings, generator)
            history.append((loss, suffix))
        best = min(history, key=lambda pair: pair[0])[1]
        text: str = tokenizer.decode(best)
        return text


def step(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    frame: Frame,
    suffix: Int[Tensor, " s"],
    settings: Search,
    generator: torch.Generator,
) -> tuple[Int[Tensor, " s"], float]:
    """The best of the tried single swaps and its loss; swaps that do not survive decoding are not tried.

    Where none survives, the suffix stays.
    """
    gradient = suffix_gradient(model, frame, suffix)
    special = torch.tensor(tokenizer.all_special_ids, device=gradient.device)
    gradient[:, special[special < gradient.shape[1]]] = torch.inf
    top = (-gradient).topk(min(settings.top, gradient.shape[1] - len(special)), dim=1).indices
    swaps = _swaps(suffix, top, settings.width, generator)
    swaps = swaps[torch.tensor([_survives(tokenizer, ids) for ids in swaps.tolist()], device=swaps.device)]
    if not len(swaps):
        return suffix, float(losses(model, frame, suffix[None])[0])
    nats = torch.cat([losses(model, frame, chunk) for chunk in swaps.split(settings.batch_size)])
    best = int(nats.argmin())
    return swaps[best], float(nats[best])


def _swaps(
    suffix: Int[Tensor, " s"], top: Int[Tensor, "s k"], width: int | None, generator: torch.Generator
) -> Int[Tensor, "c s"]:
    """The suffix with one token swapped: all such swaps, or `width` random ones."""
    length, proposed = top.shape
    numbers = torch.arange(length * proposed)
    if width is not None and width < len(numbers):
        numbers = torch.randperm(len(numbers), generator=generator)[:width]
    numbers = numbers.to(suffix.device)
    positions, tokens = numbers // proposed, top[numbers // proposed, numbers % proposed]
    swaps = suffix.repeat(len(numbers), 1)
    swaps[torch.arange(len(numbers)), positions] = tokens
    return swaps


def _survives(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> bool:
    """Whether the tokens are what the tokenizer makes of their own text."""
    again: list[int] = tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"]
    return again == ids


def suffix_gradient(model: PreTrainedModel, frame: Frame, suffix: Int[Tensor, " s"]) -> Float[Tensor, "s v"]:
    """Gradient of the target's loss with respect to the suffix as one-hot rows."""
    embedding = model.get_input_embeddings()
    weight = embedding.weight.detach()
    one_hot = torch.nn.functional.one_hot(suffix, weight.shape[0]).to(weight.dtype).requires_grad_()
    with torch.enable_grad():
        before, after, target = (embedding(ids).detach() for ids in (frame.before, frame.after, frame.target))
        embedded = torch.cat([before, one_hot @ weight, after, target])[None]
        loss = _target_loss(model(inputs_embeds=embedded, use_cache=False).logits, frame)[0]
        (gradient,) = torch.autograd.grad(loss, one_hot)
    return gradient.float()


@torch.no_grad()
def losses(model: PreTrainedModel, frame: Frame, suffixes: Int[Tensor, "c s"]) -> Float[Tensor, " c"]:
    """Loss of the target after every suffix: mean over its tokens, in nats."""
    count = len(suffixes)
    around = [ids.expand(count, -1) for ids in (frame.before, frame.after, frame.target)]
    ids = torch.cat([around[0], suffixes, around[1], around[2]], dim=1)
    return _target_loss(model(input_ids=ids, use_cache=False).logits, frame)


def _target_loss(logits: Float[Tensor, "c n v"], frame: Frame) -> Float[Tensor, " c"]:
    length = len(frame.target)
    predicted = logits[:, -length - 1 : -1].float()
    target = frame.target.expand(len(logits), -1)
    return torch.nn.functional.cross_entropy(predicted.transpose(1, 2), target, reduction="none").mean(1)


attack = Gcg
