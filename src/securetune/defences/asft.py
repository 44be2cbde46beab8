"""ASFT: DFT, anchored to the model before tuning.

Source: Zhu et al., ICLR 2026 (arXiv 2509.23753): DFT's loss and a weight times KL(now || before) at the answer tokens,
the direction of the paper's text; the code that its authors published computes the other one. The weight is our choice.
"""

from pydantic import Field
from torch import Tensor

from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.interface import Settings
from securetune.defences.base.needs import EXTRA_PASSES, REFERENCE
from securetune.defences.dft import Dft
from securetune.models.tensors import divergence


class Anchored(Settings):
    """Settings of ASFT."""

    weight: float = Field(default=0.1, ge=0)
    """Weight of the divergence, per nat of loss."""


class Asft(Dft):
    """Anchored supervised fine-tuning."""

    title, paper = "ASFT", "arXiv 2509.23753"
    needs = (REFERENCE, EXTRA_PASSES)
    cost = "two more forward passes"
    Settings = Anchored

    def loss(self, batch: TokenBatch) -> Tensor:
        """DFT's term and the mean divergence."""
        return super().loss(batch) + self.settings.weight * divergence(batch.logits, batch.reference_logits).mean()


defence = Asft
