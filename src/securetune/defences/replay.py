"""Replay: go on answering safety rows as before, in words and in logits, while tuning on the task.

Source: dark experience replay (Buzzega et al. 2020, arXiv 2004.07211), found strong for this use in arXiv 2512.10150.
The logits to keep are those of the model before tuning; the weights are our choice.
"""

from pydantic import Field
from torch import Tensor

from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.interface import Defence, Settings
from securetune.defences.base.needs import EXTRA_PASSES, REFERENCE, SAFETY_ROWS


class Replayed(Settings):
    """Settings of replay."""

    logits_weight: float = Field(default=0.1, ge=0)
    """Weight of the mean squared change of the logits."""
    answers_weight: float = Field(default=0.5, ge=0)
    """Weight of the cross-entropy of the safe answers."""


class Replay(Defence):
    """Dark experience replay of safety rows."""

    title, paper = "replay", "arXiv 2512.10150"
    needs = (REFERENCE, SAFETY_ROWS, EXTRA_PASSES)
    cost = "two forward passes and a backward pass more"
    Settings = Replayed

    def loss(self, batch: TokenBatch) -> Tensor:
        """Change of the logits and cross-entropy, on this step's safety rows."""
        safety = TokenBatch(run=batch.run, inputs=batch.run.safety_batch())
        change = (safety.logits - safety.reference_logits).square().mean()
        return self.settings.logits_weight * change + self.settings.answers_weight * safety.nll().mean()


defence = Replay
