"""Zero: a share of the weight's entries, drawn at random, is set to zero; strength 1 removes the module."""

import torch
from torch import Tensor


def perturbation(weight: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Minus the weight on a share `strength` of its entries, 0 elsewhere."""
    chosen = (torch.rand(weight.shape, generator=generator) < strength).to(weight.device)
    return -weight.float() * chosen
