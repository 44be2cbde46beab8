"""KL anchor: stay near what the model said before tuning, on the answers it is tuned on.

The reference is the model with its adapter switched off, so LoRA needs no second model. Weight and direction (from the
reference) are our choice.
"""

from pydantic import Field
from torch import Tensor

from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.interface import Defence, Settings
from securetune.defences.base.needs import EXTRA_PASSES, REFERENCE
from securetune.models.tensors import divergence


class Anchor(Settings):
    """Settings of the KL anchor."""

    weight: float = Field(default=0.1, gt=0)
    """Weight of the divergence, per nat of loss."""


class KlAnchor(Defence):
    """KL to the model before tuning."""

    title, paper = "KL anchor", "common baseline"
    needs = (REFERENCE, EXTRA_PASSES)
    cost = "two more forward passes"
    Settings = Anchor

    def loss(self, batch: TokenBatch) -> Tensor:
        """The mean divergence over the answer tokens."""
        return self.settings.weight * divergence(batch.reference_logits, batch.logits).mean()


defence = KlAnchor
