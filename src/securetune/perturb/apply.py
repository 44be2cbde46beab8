"""Apply: perturb some modules of a model for the length of a `with` block.

The weights come back bit for bit, on exceptions too, because the originals are kept, not subtracted back.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from securetune.topology import ModuleSet, Topology


class Perturbation(Protocol):
    """What a file in this folder offers as `perturbation`."""

    def __call__(self, weight: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        """The change of `weight`, same shape."""
        ...


@contextmanager
@torch.no_grad()
def perturbed(
    model: nn.Module,
    topology: Topology,
    modules: ModuleSet,
    perturbation: Perturbation,
    *,
    strength: float,
    seed: int,
) -> Iterator[None]:
    """Perturb `modules`; a module's noise depends on `seed` and its own name, not on its company."""
    kept: list[tuple[Tensor, Tensor]] = []
    try:
        for ref in modules:
            weight = model.get_parameter(topology.modules[ref].weight)
            generator = torch.Generator().manual_seed(seed * 1_000_003 + zlib.crc32(str(ref).encode()))
            delta = perturbation(weight.detach(), strength, generator)
            kept.append((weight, weight.detach().clone()))
            weight.copy_((weight.float() + delta).to(weight.dtype))
        yield
    finally:
        for weight, original in kept:
            weight.copy_(original)
