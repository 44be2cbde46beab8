"""Low rank: a random update of rank 8, the shape that a LoRA step really has.

Shapes: o rows, i columns; leading dimensions are experts.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from securetune.perturb.base.apply import Draw, Perturbation

RANK = 8


def change(weight: Float[Tensor, "*e o i"], strength: float, draw: Draw) -> Tensor:
    """A change of rank `RANK` whose Frobenius norm is `strength` times the weight's."""
    *experts, rows, columns = weight.shape
    left = torch.randn(*experts, rows, RANK, generator=draw.generator).to(weight.device)
    right = torch.randn(*experts, RANK, columns, generator=draw.generator).to(weight.device)
    delta = left @ right
    return delta * (strength * weight.float().norm() / delta.norm())


perturbation = Perturbation(change, is_symmetric=True)
