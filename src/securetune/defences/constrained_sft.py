r"""Constrained SFT: the first answer tokens may hardly leave what the model said before tuning.

Source: Qi et al., ICLR 2025 (arXiv 2406.05946): token t costs -(2 / beta_t) log sigmoid(beta_t m_t), m_t the
log-probability now minus before. Its gradient is cross-entropy's, weighted by w_t = 2 (1 - sigmoid(beta_t m_t)); what
is added to the loss here is (w_t - 1) times the cross-entropy.
"""

import torch
from pydantic import Field
from torch import Tensor

from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.interface import TOKENS, Defence, Settings
from securetune.defences.base.needs import EXTRA_PASSES, REFERENCE


class Constraint(Settings):
    """Settings of constrained SFT."""

    beta_first: float = Field(default=0.5, gt=0)
    """Strength at the first answer token."""
    beta_early: float = Field(default=2.0, gt=0)
    """Strength at tokens two to five."""
    beta_late: float = Field(default=0.1, gt=0)
    """Strength after them."""


class ConstrainedSft(Defence):
    """Constrained SFT."""

    title, paper = "constrained SFT", "arXiv 2406.05946"
    needs, decides = (REFERENCE, EXTRA_PASSES), (TOKENS,)
    cost = "two more forward passes"
    Settings = Constraint

    def loss(self, batch: TokenBatch) -> Tensor:
        """What turns the tokens' cross-entropy into the constrained one."""
        nll = batch.nll()
        before = torch.nn.functional.cross_entropy(batch.reference_logits, batch.targets, reduction="none")
        weight = 2 * (1 - torch.sigmoid(self._beta(batch.positions) * (before - nll.detach())))
        return ((weight - 1) * nll).mean()

    def _beta(self, positions: Tensor) -> Tensor:
        settings = self.settings
        early = torch.where(positions == 0, settings.beta_first, settings.beta_early)
        return torch.where(positions < 5, early, settings.beta_late)


defence = ConstrainedSft
