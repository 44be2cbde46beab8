"""Features: what does the model hold at the last prompt token?

Shapes: n prompts, d hidden size, v vocabulary. The feature is the input of the output embedding, that is the last
layer's normalised hidden state; the logits are those of the first answer token.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from securetune.data.prompts import render
from securetune.errors import ModelError
from securetune.models.reading import decoder_layers
from securetune.models.tensors import plain


@dataclass(frozen=True, kw_only=True)
class Features:
    """Last-token state of n prompts."""

    hidden: Float[Tensor, "n d"]
    """Input of the output embedding, float32 on the CPU."""
    logits: Float[Tensor, "n v"]
    """Logits of the first answer token, float32 on the CPU."""

    def of(self, rows: Tensor) -> "Features":
        """The features of some of the prompts: a mask or row numbers."""
        return Features(hidden=self.hidden[rows], logits=self.logits[rows])


@dataclass(frozen=True, kw_only=True)
class PromptBatch:
    """Tokenized prompts of like length, padded on the left."""

    index: list[int]
    """Position of each row in the original order."""
    input_ids: Tensor
    attention_mask: Tensor
    """Of the tokens in `past` and of `input_ids`."""
    position_ids: Tensor
    past: Cache | None = None
    """Keys and values of tokens that come before `input_ids`; it must not grow, for several passes read it."""


def batch_prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    batch_size: int,
    system: str | None = None,
    lead: Sequence[int] = (),
) -> list[PromptBatch]:
    """Tokenize prompts through the chat template into batches sorted by length, on the model's device.

    `lead` are tokens that follow every prompt, see `Openings.lead`.
    """
    texts = render(tokenizer, prompts, system=system)
    return batch_texts(model, tokenizer, texts, batch_size=batch_size, lead=lead)


def batch_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    batch_size: int,
    lead: Sequence[int] = (),
) -> list[PromptBatch]:
    """The same for texts that have been through the chat template."""
    encoded = [[*tokenizer(text, add_special_tokens=False)["input_ids"], *lead] for text in texts]
    return batch_tokens(model, tokenizer, encoded, batch_size=batch_size)


def batch_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, encoded: Sequence[list[int]], *, batch_size: int
) -> list[PromptBatch]:
    """The same for token ids."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    batches = []
    for start in range(0, len(order), batch_size):
        index = order[start : start + batch_size]
        padded = tokenizer.pad({"input_ids": [encoded[i] for i in index]}, padding_side="left", return_tensors="pt")
        mask = padded["attention_mask"].to(model.device)
        batches.append(
            PromptBatch(
                index=index,
                input_ids=padded["input_ids"].to(model.device),
                attention_mask=mask,
                position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            )
        )
    return batches


def first_token(model: PreTrainedModel, batch: PromptBatch) -> Float[Tensor, "b v"]:
    """Logits of the first answer token, one forward pass."""
    return next_token(model, batch.input_ids, batch.attention_mask, batch.position_ids, batch.past)


def next_token(
    model: PreTrainedModel, tokens: Tensor, mask: Tensor, positions: Tensor, cache: Cache | None
) -> Float[Tensor, "b v"]:
    """Logits of the token that follows; the tokens are added to the `cache`, if there is one."""
    out = model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=positions,
        use_cache=cache is not None,
        logits_to_keep=1,
        **({} if cache is None else {_cache_argument(model): cache}),
    )
    logits: Tensor = out.logits[:, -1]
    return logits


def _cache_argument(model: PreTrainedModel) -> str:
    """What the model calls its cache: transformers 5.24 has renamed it.

    A model swallows a name that it does not know, and answers without its cache, wrongly.
    """
    return "cache" if "cache" in inspect.signature(plain(model).forward).parameters else "past_key_values"


@torch.no_grad()
def extract_features(
    model: PreTrainedModel,
    batches: Sequence[PromptBatch],
    *,
    around: Callable[[int], AbstractContextManager[None]] | None = None,
) -> Features:
    """Run the prompts once and keep the last token's state; the pass of batch i runs inside `around(i)`, where given.

    Raises:
        ModelError: the model has no output embedding to read at.
    """
    hidden, logits = [], []
    for number, batch in enumerate(batches):
        with around(number) if around else nullcontext(), _output_embedding_input(model) as inputs:
            logits.append(first_token(model, batch).float().cpu())
        hidden.append(inputs[0][:, -1].float().cpu())
    order = _positions(batches)
    return Features(hidden=torch.cat(hidden)[order], logits=torch.cat(logits)[order])


def _positions(batches: Sequence[PromptBatch]) -> Tensor:
    """Where each prompt, in the original order, stands among the rows of the batches."""
    return torch.tensor([i for batch in batches for i in batch.index]).argsort()


@torch.no_grad()
def extract_layer_states(model: PreTrainedModel, batches: Sequence[PromptBatch]) -> Float[Tensor, "l n d"]:
    """The last token's hidden state after every decoder layer, float32 on the CPU."""
    states = []
    for batch in batches:
        with layer_outputs(model) as outputs:
            first_token(model, batch)
        states.append(torch.stack([hidden[:, -1].float().cpu() for hidden in outputs]))
    return torch.cat(states, dim=1)[:, _positions(batches)]


@contextmanager
def layer_outputs(model: PreTrainedModel) -> Iterator[list[Float[Tensor, "b t d"]]]:
    """Collect the hidden states after every decoder layer, with their gradients where they have any."""
    outputs: list[Tensor] = []
    handles = [layer.register_forward_hook(functools.partial(_keep, outputs)) for layer in decoder_layers(model)]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _keep(outputs: list[Tensor], _layer: nn.Module, _inputs: object, output: Any) -> None:
    outputs.append(output[0] if isinstance(output, tuple) else output)


@contextmanager
def _output_embedding_input(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Collect what goes into the output embedding."""
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Module):
        raise ModelError(f"Expected an output embedding in {type(model).__name__}, found none. Use a causal LM.")
    inputs: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
    try:
        yield inputs
    finally:
        handle.remove()
