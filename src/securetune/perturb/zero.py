"""Zero: a share of the weight's entries, drawn at random, is set to zero; strength 1 removes the module."""

import torch
from torch import Tensor

from securetune.perturb.base.apply import Draw, Perturbation


def change(weight: Tensor, strength: float, draw: Draw) -> Tensor:
    """Minus the weight on a share `strength` of its entries, 0 elsewhere."""
    chosen = (torch.rand(weight.shape, generator=draw.generator) < strength).to(weight.device)
    return -weight.float() * chosen


perturbation = Perturbation(change)
