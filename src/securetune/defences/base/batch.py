"""Batch: what a defence sees of a batch in training.

Shapes: b rows, t tokens, n answer tokens of a batch, v vocabulary, d hidden size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from securetune.defences.base.run import TrainingRun
from securetune.models.features import layer_outputs
from securetune.models.tensors import IGNORED, plain

_READ = ("input_ids", "attention_mask", "position_ids")
"""What of a batch a model is given."""


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """A batch in training and the model's answers to it, computed when first asked for."""

    run: TrainingRun
    inputs: Mapping[str, Tensor]
    """``input_ids``, ``attention_mask`` and ``labels``, each [b, t]; ``position_ids`` where rows stand in one line."""

    @cached_property
    def _is_answer(self) -> Tensor:
        found: Tensor = self.inputs["labels"][:, 1:] != IGNORED
        return found

    @cached_property
    def targets(self) -> Int[Tensor, " n"]:
        """The answer tokens."""
        return self.inputs["labels"][:, 1:][self._is_answer]

    @cached_property
    def positions(self) -> Int[Tensor, " n"]:
        """Place of each token in its row's answers, from 0."""
        counts = self._is_answer.cumsum(1)
        if "position_ids" in self.inputs:  # several rows in a line: count anew where one begins
            begins = self.inputs["position_ids"][:, 1:] == 0
            counts = counts - torch.where(begins, counts - self._is_answer.long(), 0).cummax(1).values
        return (counts - 1)[self._is_answer]

    @cached_property
    def logits(self) -> Float[Tensor, "n v"]:
        """What the model says at each answer token."""
        return self._logits(self.run.model)

    @cached_property
    def reference_logits(self) -> Float[Tensor, "n v"]:
        """What the model before tuning says there; without gradient."""
        with self.run.reference() as model:
            return self.logits_of(model)

    @cached_property
    def states(self) -> list[Float[Tensor, "n d"]]:
        """The model's state after every layer where each answer token is predicted."""
        return self._states(self.run.model)

    @cached_property
    def reference_states(self) -> list[Float[Tensor, "n d"]]:
        """The same of the model before tuning; without gradient."""
        with torch.no_grad(), self.run.reference() as model:
            return self._states(model)

    def nll(self) -> Float[Tensor, " n"]:
        """Cross-entropy of each answer token, in nats."""
        return nn.functional.cross_entropy(self.logits, self.targets, reduction="none")

    def nll_of(self, model: nn.Module) -> Float[Tensor, " n"]:
        """The same of another model, with gradient."""
        return nn.functional.cross_entropy(self._logits(model), self.targets, reduction="none")

    @torch.no_grad()
    def logits_of(self, model: nn.Module) -> Float[Tensor, "n v"]:
        """What another model says there; without gradient."""
        return self._logits(model)

    def _logits(self, model: nn.Module) -> Tensor:
        inputs = {name: self.inputs[name] for name in _READ if name in self.inputs}
        logits: Tensor = model(**inputs, use_cache=False).logits[:, :-1][self._is_answer]
        return logits.float()

    def _states(self, model: nn.Module) -> list[Tensor]:
        with layer_outputs(plain(model)) as found:
            self._logits(model)
        return [states[:, :-1][self._is_answer].float() for states in found]
