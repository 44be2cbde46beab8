"""SNIP freeze: hold the single weights that matter to safety but not to usefulness.

Source: Wei et al., ICML 2024 (arXiv 2402.05162): a weight's score is |w dL/dw|, averaged over rows, on safety rows and
on useful rows; held are a matrix's top share by the first without the top share by the second. Its authors find that
this does little against the drift of tuning. Useful rows are the task's here.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from securetune.data.prompts import Example
from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.interface import Defence, Settings
from securetune.defences.base.needs import EXTRA_PASSES, FULL, REFERENCE, SAFETY_ROWS
from securetune.defences.base.run import TrainingRun


class SetDifference(Settings):
    """Settings of SNIP freezing."""

    safety_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of each matrix that counts as important to safety."""
    utility_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of each matrix that counts as important to the task."""
    rows: int = Field(default=64, ge=1)
    """Rows of each kind that scores are averaged over."""


class SnipFreeze(Defence):
    """Freezing of single weights."""

    title, paper = "SNIP freeze", "arXiv 2402.05162"
    needs = (SAFETY_ROWS, FULL, REFERENCE, EXTRA_PASSES)
    weights = "whole"
    cost = "a mask of the weights and a copy of what it holds; once, a backward pass on some rows"
    Settings = SetDifference

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.held: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}

    def begin(self, run: TrainingRun) -> None:
        """Find the weights to hold, on the model before tuning."""
        settings = self.settings
        with run.reference() as model:
            weights = {name: p for name, p in model.named_parameters() if p.ndim > 1}
            safety = snip_scores(run, model, weights, run.resources.safety_rows[: settings.rows])
            utility = snip_scores(run, model, weights, run.rows[: settings.rows])
        self.held = {
            name: top(safety[name], settings.safety_share) & ~top(utility[name], settings.utility_share)
            for name in weights
        }

    def gradients(self, run: TrainingRun) -> None:
        """Remember them: without a gradient alone, weight decay would still move them."""
        self._before = {name: p.detach()[self.held[name]] for name, p in run.trainable().items() if name in self.held}

    @torch.no_grad()
    def step(self, run: TrainingRun) -> None:
        """Put them back."""
        trainable = run.trainable()
        for name, before in self._before.items():
            trainable[name][self.held[name]] = before


def snip_scores(
    run: TrainingRun, model: torch.nn.Module, weights: dict[str, Tensor], rows: Sequence[Example]
) -> dict[str, Tensor]:
    """Mean of |w dL/dw| over rows, for every weight."""
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for weight in weights.values():
        weight.requires_grad_(True)
    for row in rows:
        with torch.enable_grad():
            nll = TokenBatch(run=run, inputs=run.batch([row])).nll_of(model).mean()
            found = torch.autograd.grad(nll, list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, found, strict=True):
            if gradient is not None:
                total[name] += (weights[name].detach() * gradient).abs() / len(rows)
    return total


def top(scores: Tensor, share: float) -> Tensor:
    """Mask of the largest scores."""
    count = max(1, round(share * scores.numel()))
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[scores.flatten().topk(count).indices] = True
    return mask.view_as(scores)


defence = SnipFreeze
