"""SafeGrad: take out of the task's gradient what works against safety.

Source: arXiv 2508.07172. The safety loss is the KL divergence from the model before tuning on rows with safe answers; a
task gradient that conflicts with its gradient loses that component, and the safety gradient is added.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.interface import Defence, Settings
from securetune.defences.base.needs import EXTRA_PASSES, REFERENCE, SAFETY_ROWS
from securetune.defences.base.run import TrainingRun
from securetune.models.tensors import divergence


class Surgery(Settings):
    """Settings of SafeGrad."""

    weight: float = Field(default=1.0, ge=0)
    """Weight of the safety gradient that is added."""


class SafeGrad(Defence):
    """Gradient surgery against a safety gradient."""

    title, paper = "SafeGrad", "arXiv 2508.07172"
    needs = (REFERENCE, SAFETY_ROWS, EXTRA_PASSES)
    cost = "two forward passes and a backward pass more"
    Settings = Surgery

    def gradients(self, run: TrainingRun) -> None:
        """Project the conflict away and add the safety gradient."""
        batch = TokenBatch(run=run, inputs=run.safety_batch())
        found = run.gradients_of(lambda: divergence(batch.reference_logits, batch.logits).mean())
        pairs = [(p.grad, g) for p, g in zip(run.trainable().values(), found, strict=True) if p.grad is not None]
        operate([task for task, _ in pairs], [safety for _, safety in pairs], self.settings.weight)


def operate(task: Sequence[Tensor], safety: Sequence[Tensor], weight: float) -> None:
    """Take the part along the safety gradient out of the task's, in place, where they conflict; add `weight` of it."""
    agreement = torch.stack([(a * b).sum() for a, b in zip(task, safety, strict=True)]).sum()
    norm = torch.stack([g.square().sum() for g in safety]).sum()
    conflict = torch.clamp(agreement / (norm + 1e-20), max=0)
    for gradient, own in zip(task, safety, strict=True):
        gradient.add_((weight - conflict) * own)


defence = SafeGrad
