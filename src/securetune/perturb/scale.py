"""Scale: the weight times (1 + strength) or (1 - strength), the sign drawn at random.

Measured both ways there is nothing random left: every draw gives the same.
"""

import torch
from torch import Tensor

from securetune.perturb.base.apply import Draw, Perturbation


def change(weight: Tensor, strength: float, draw: Draw) -> Tensor:
    """Plus or minus `strength` times the weight."""
    sign = 1 if torch.rand((), generator=draw.generator) < 0.5 else -1
    return weight.float() * (sign * strength)


perturbation = Perturbation(change, is_symmetric=True)
