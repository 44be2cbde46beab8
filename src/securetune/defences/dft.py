"""DFT: a token counts by how likely the model already holds it.

Source: Wu et al. 2025 (arXiv 2508.05629): answer token t costs p_t times its cross-entropy, p_t its own probability,
detached. What is added to the loss here is (p_t - 1) times the cross-entropy. TRL has the same as ``loss_type="dft"``.
"""

from typing import ClassVar

import torch
from torch import Tensor

from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.interface import TOKENS, Defence
from securetune.defences.base.needs import EXTRA_PASSES, Need


class Dft(Defence):
    """Dynamic fine-tuning."""

    title, paper = "DFT", "arXiv 2508.05629"
    needs: ClassVar[tuple[Need, ...]] = (EXTRA_PASSES,)
    decides = (TOKENS,)
    cost = "a forward pass more"

    def loss(self, batch: TokenBatch) -> Tensor:
        """What turns the tokens' cross-entropy into the weighted one."""
        nll = batch.nll()
        return ((torch.exp(-nll.detach()) - 1) * nll).mean()


defence = Dft
