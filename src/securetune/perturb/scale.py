"""Scale: the weight times (1 + strength) or (1 - strength), the sign drawn at random."""

import torch
from torch import Tensor


def perturbation(weight: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Plus or minus `strength` times the weight."""
    sign = 1 if torch.rand((), generator=generator) < 0.5 else -1
    return weight.float() * (sign * strength)
