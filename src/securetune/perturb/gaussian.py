"""Gaussian: independent normal noise on every entry."""

import torch
from torch import Tensor


def perturbation(weight: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Noise whose Frobenius norm is `strength` times the weight's."""
    delta = torch.randn(weight.shape, generator=generator).to(weight.device)
    return delta * (strength * weight.float().norm() / delta.norm())
