"""Gaussian: independent normal noise on every entry."""

import torch
from torch import Tensor

from securetune.perturb.base.apply import Draw, Perturbation


def change(weight: Tensor, strength: float, draw: Draw) -> Tensor:
    """Noise whose Frobenius norm is `strength` times the weight's."""
    delta = torch.randn(weight.shape, generator=draw.generator).to(weight.device)
    return delta * (strength * weight.float().norm() / delta.norm())


perturbation = Perturbation(change, is_symmetric=True)
