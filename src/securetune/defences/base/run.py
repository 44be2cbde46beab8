"""Run: what a defence sees of a tuning run, and what it may use.

Shapes: n prompts, v vocabulary, l layers, d hidden size.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.data.prompts import Example, tokenize_example
from securetune.models.adapters import targets
from securetune.models.features import batch_prompts, extract_features, extract_layer_states
from securetune.models.openings import Openings
from securetune.models.tensors import IGNORED, in_evaluation, plain
from securetune.models.topology import clean_name
from securetune.plans.plan import Plan

_TOGETHER = 16
"""Prompts that are read at once: few, so that a batch of prompts sorted by length has little padding."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a run can give a defence beyond the task's rows."""

    safety_rows: Sequence[Example] = ()
    """Prompts with safe answers."""
    malicious: Sequence[str] = ()
    benign: Sequence[str] = ()
    """Prompts of the analysis."""
    openings: Openings | None = None
    """Its refusing and complying first tokens."""
    unaligned: Callable[[], PreTrainedModel] | None = None
    """Loads the model as it was before its alignment."""


@dataclass(kw_only=True)
class TrainingRun:
    """A tuning run under way."""

    model: nn.Module
    """The model being tuned, with its adapter."""
    tokenizer: PreTrainedTokenizerBase
    reference: Callable[[], AbstractContextManager[nn.Module]]
    """Gives the model as it was before tuning."""
    resources: Resources = field(default_factory=Resources)
    plan: Plan | None = None
    """The plan in force."""
    total_steps: int
    batch_size: int = 8
    """Rows per step of this process."""
    rank: int = 0
    ranks: int = 1
    """Which of how many processes this is that share every step's rows."""
    max_length: int = 512
    seed: int = 0
    rows: Sequence[Example] = ()
    """The task's rows."""
    step: int = 0
    """Optimizer steps done."""
    is_over: bool = False
    """A defence sets it to end the run."""
    has_ended: bool = False
    """Whether the weights are the final ones."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """Trainable parameters by name; where they are sharded over processes, this process's shards."""
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # a forward pass leaves whole copies in their place until the next backward pass
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def aligned_weights(self) -> dict[str, Tensor]:
        """Parameters, by name, of the model before tuning; copies."""
        with self.reference() as model:
            return {clean_name(n): p.detach().clone() for n, p in model.named_parameters() if ".lora_" not in n}

    def merge(self) -> None:
        """Make the adapter part of the weights; the run goes on with a whole model."""
        model: Any = self.model
        if hasattr(model, "merge_and_unload"):
            self.model = model.merge_and_unload()

    def sensitive(self) -> dict[str, nn.Parameter]:
        """Trainable parameters that the plan in force keeps back; all of them where no plan does."""
        trainable, plan = self.trainable(), self.plan
        if plan is None:
            return trainable
        changed = targets(self.model)
        held = {name: p for name, p in trainable.items() if min(plan.lr_scale(*changed[name].names)) < 1}
        return held or trainable

    def refusal_margins(self, prompts: Sequence[str], model: nn.Module) -> Float[Tensor, " n"]:
        """Refusal margin of a model on every prompt, in nats; prefill only."""
        assert self.resources.openings is not None, "the refusal margin needs the model's openings"
        inner = plain(model)
        with in_evaluation(model):
            openings = self.resources.openings
            batches = batch_prompts(inner, self.tokenizer, prompts, batch_size=_TOGETHER, lead=openings.lead)
            return openings.margin(extract_features(inner, batches).logits)

    def safety_batch(self) -> dict[str, Tensor]:
        """This process's rows with safe answers in this step; every row comes up once before one comes up twice."""
        rows = self.resources.safety_rows
        start = (self.step * self.ranks + self.rank) * self.batch_size
        epochs = range(start // len(rows), (start + self.batch_size - 1) // len(rows) + 1)
        order = [i for e in epochs for i in random.Random(f"{self.seed} {e}").sample(range(len(rows)), len(rows))]
        first = start % len(rows)
        return self.batch([rows[i] for i in order[first : first + self.batch_size]])

    def gradients_of(self, loss: Callable[[], Tensor]) -> list[Tensor]:
        """Gradients of a loss of this process, their mean over all processes, for every trainable parameter.

        What the parameters hold as their gradients stays there.
        """
        parameters = list(self.trainable().values())
        kept = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None
        with torch.enable_grad():
            loss().backward()
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        for parameter, gradient in zip(parameters, kept, strict=True):
            parameter.grad = gradient
        if self.ranks > 1:
            for gradient in found:
                if not isinstance(gradient, DTensor):  # where parameters are sharded, backward has averaged already
                    torch.distributed.all_reduce(gradient)
                    gradient /= self.ranks
        return found

    def batch(self, rows: Sequence[Example]) -> dict[str, Tensor]:
        """Rows as the model takes them, padded on the right, with labels on the answers only."""
        encoded = [tokenize_example(self.tokenizer, row, max_length=self.max_length) for row in rows]
        longest = max(len(row.ids) for row in encoded)
        device = next(self.model.parameters()).device
        pad = self.tokenizer.pad_token_id

        def padded(lists: Sequence[Sequence[int]], fill: int) -> Tensor:
            return torch.tensor([[*ids, *[fill] * (longest - len(ids))] for ids in lists], device=device)

        ids = [row.ids for row in encoded]
        answers = [[*[IGNORED] * row.start, *row.ids[row.start :]] for row in encoded]
        mask = [[1] * len(row) for row in ids]
        return {"input_ids": padded(ids, pad), "attention_mask": padded(mask, 0), "labels": padded(answers, IGNORED)}

    def prompt_states(self, prompts: Sequence[str]) -> Float[Tensor, "l m d"]:
        """State of the model before tuning at the last token of m prompts, after every layer."""
        with self.reference() as model:
            inner = plain(model)
            return extract_layer_states(
                inner, batch_prompts(inner, self.tokenizer, prompts, batch_size=max(self.batch_size, 32))
            )
