"""ProCon-style: hold every state's projection on its layer's refusal direction where it was before tuning.

Source: Du et al. 2025, arXiv 2509.06795: a penalty on the change of the projection, strong early, and safety rows
besides. Its scale is not public: here the change is measured in units of the distance between malicious and benign
prompts along the direction, and the weights are our choice.
Shapes: l layers, n answer tokens, d hidden size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from securetune.data.prompts import Example
from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.interface import Defence, Settings
from securetune.defences.base.needs import EXTRA_PASSES, PROMPTS, REFERENCE, SAFETY_ROWS
from securetune.defences.base.run import TrainingRun
from securetune.defences.safe_instr import mixed


class Projection(Settings):
    """Settings of ProCon."""

    weight: float = Field(default=1.0, gt=0)
    """Weight of the penalty after the warm-up."""
    warmup_weight: float = Field(default=10.0, gt=0)
    """Weight of the penalty during the warm-up."""
    warmup_fraction: float = Field(default=0.2, ge=0, lt=1)
    """Share of the steps that is warm-up."""
    share: float = Field(default=0.03, gt=0, lt=1)
    """Rows with safe answers, as a share of the task's rows."""


class ProCon(Defence):
    """A penalty on the change along the refusal directions."""

    title, paper = "ProCon-style", "arXiv 2509.06795"
    needs = (REFERENCE, SAFETY_ROWS, PROMPTS, EXTRA_PASSES)
    cost = "two more forward passes"
    Settings = Projection

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.directions: Tensor

    def edit_data(self, rows: Sequence[Example], safety: Sequence[Example], seed: int) -> Sequence[Example]:
        """Safety rows among the task's."""
        return mixed(rows, safety, self.settings.share, seed)

    def begin(self, run: TrainingRun) -> None:
        """Find the refusal direction of every layer, [l, d], over the distance of the two kinds along it."""
        malicious, benign = (run.prompt_states(prompts) for prompts in (run.resources.malicious, run.resources.benign))
        difference = malicious.mean(1) - benign.mean(1)
        self.directions = difference / difference.square().sum(-1, keepdim=True).clamp(min=1e-12)

    def loss(self, batch: TokenBatch) -> Tensor:
        """The mean squared change of the projections."""
        settings, run = self.settings, batch.run
        early = run.step < settings.warmup_fraction * run.total_steps
        changes = [
            ((now - before) @ direction).square().mean()
            for now, before, direction in zip(batch.states, batch.reference_states, self.directions, strict=True)
        ]
        return (settings.warmup_weight if early else settings.weight) * torch.stack(changes).mean()


defence = ProCon
