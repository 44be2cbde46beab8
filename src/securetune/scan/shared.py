"""Shared: what do the tokens cost that every prompt begins with?

Under a chat template with a system prompt all prompts begin alike, often for more than half of their tokens. What a
causal model holds there does not depend on what follows, so these tokens are run once, as one row, and every batch goes
on from their keys and values. The features are those of the whole prompts up to rounding, if a model's later tokens
read nothing else of the earlier ones; whether that is so is measured on the prompts themselves.
"""

import dataclasses
import itertools
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from securetune.models.features import Features, PromptBatch, extract_features, next_token

log = logging.getLogger(__name__)

LEAST = 4
"""Fewer shared tokens than this are not worth a pass of their own."""
_LAUNCH = 1e11
"""Products that a GPU finds time for while the kernels of one layer are launched, which one more pass costs: estimated
from 0.6 ms a layer and the rate of the pass in docs/results/scan-speed.md. On a CPU launching costs next to nothing."""


class SharedTokens:
    """The tokens that all prompts begin with, and what is left of every batch."""

    def __init__(self, model: PreTrainedModel, batches: Sequence[PromptBatch], tokens: Sequence[int]) -> None:
        """`tokens` are the first of every prompt in `batches`, and no whole prompt."""
        self._model = model
        ids = torch.tensor([list(tokens)], device=batches[0].input_ids.device)
        positions = torch.arange(len(tokens), device=ids.device)[None]
        self._first = PromptBatch(index=[0], input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=positions)
        self._kept = self._run_first()
        self._rests = [_rest(batch, len(tokens), _past(self._kept)) for batch in batches]
        self.clean = self.features()
        """Features of the prompts to the model as it was when this was made."""

    @property
    def batches(self) -> list[PromptBatch]:
        """The shared tokens, as batch 0, and the rest of every batch, going on from the model as it was."""
        return [self._first, *self._rests]

    def features(self, around: Callable[[int], AbstractContextManager[None]] | None = None) -> Features:
        """Features of the prompts to the model as it is; the pass of `batches[i]` runs inside `around(i)`."""
        with around(0) if around else nullcontext():
            layers = self._run_first()
        # A skipped layer has no keys, and nothing reads any; how many there are must be known all the same.
        pairs = itertools.zip_longest(layers, self._kept)
        past = _past([new if new is not None and new.is_initialized else kept for new, kept in pairs])
        rests = [dataclasses.replace(rest, past=past) for rest in self._rests]
        found: Features = extract_features(self._model, rests, around=(lambda i: around(i + 1)) if around else None)
        return found

    @torch.no_grad()
    def _run_first(self) -> list[DynamicLayer]:
        """Keys and values of the shared tokens, layer by layer."""
        cache, first = DynamicCache(), self._first
        next_token(self._model, first.input_ids, first.attention_mask, first.position_ids, cache)
        return list(cache.layers)


class _Past(DynamicLayer):
    """Keys and values of one row that any number of rows go on from; theirs are not kept."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values = layer.keys, layer.values

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_options: Any) -> tuple[Tensor, Tensor]:
        return _after(self.keys, key_states), _after(self.values, value_states)


def _after(past: Tensor, states: Tensor) -> Tensor:
    return torch.cat([past.expand(len(states), *past.shape[1:]), states], dim=-2)


def _past(layers: Sequence[DynamicLayer]) -> Cache:
    return Cache(layers=[_Past(layer) for layer in layers])


def shared_tokens(model: PreTrainedModel, batches: Sequence[PromptBatch], whole: Features) -> SharedTokens | None:
    """The prompts in two parts; None where they share few tokens or their features are not the same as `whole`."""
    rows = [
        ids[kept.bool()].tolist()[:-1]
        for batch in batches
        for ids, kept in zip(batch.input_ids, batch.attention_mask, strict=True)
    ]
    columns = zip(*rows, strict=False)
    tokens = [column[0] for column in itertools.takewhile(lambda column: len(set(column)) == 1, columns)]
    layers = model.config.get_text_config().num_hidden_layers
    if not is_worth_a_pass(model.device.type, len(tokens), len(rows), model.num_parameters() / layers):
        return None
    try:
        shared = SharedTokens(model, batches, tokens)
        _check(shared.clean, whole, rounding=max(1e-4, 8 * torch.finfo(model.dtype).eps))
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        log.warning(
            "The %d tokens that all prompts begin with are run anew for each: this model does not go on from its "
            "cache as it should (%s).", len(tokens), str(error).split("\n")[0],
        )  # fmt: skip
        return None
    return shared


def is_worth_a_pass(device: str, tokens: int, prompts: int, layer: float) -> bool:
    """Whether running some tokens once and not for every prompt saves more than one more pass costs.

    `device` is a type of torch, `layer` the number of parameters of one layer.
    """
    return tokens >= LEAST and (device == "cpu" or tokens * (prompts - 1) * layer > _LAUNCH)


def _check(found: Features, expected: Features, *, rounding: float) -> None:
    """Raise ValueError where the features of a prompt differ by more than `rounding`, relative to their norm."""
    for name, one, other in (
        ("hidden states", found.hidden, expected.hidden),
        ("logits", found.logits, expected.logits),
    ):
        difference = float(((one - other).norm(dim=1) / other.norm(dim=1)).max())
        if not difference <= rounding:
            raise ValueError(f"its {name} differ by {difference:.1g}")


def _rest(batch: PromptBatch, count: int, past: Cache) -> PromptBatch:
    """A batch without the first `count` tokens of its rows; shorter rows have their padding after the shared tokens."""
    mask = (batch.attention_mask.cumsum(-1) > count).long()
    mask[:, :count] = 1
    return PromptBatch(
        index=batch.index,
        input_ids=batch.input_ids[:, count:],
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1)[:, count:],
        past=past,
    )
