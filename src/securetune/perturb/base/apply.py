"""Apply: perturb some modules of a model for the length of a `with` block.

The weights come back bit for bit, on exceptions too, because the originals are kept, not subtracted back.
"""

import functools
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from securetune.models.topology import ModuleSet, Topology

Learned = Callable[[str], Tensor]
"""Path of a module -> the change of its weight in a short benign tuning run."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What one draw of a perturbation may use."""

    generator: torch.Generator
    learned: Callable[[Tensor], Tensor]
    """The change of the given weight in a short benign tuning run, on the weight's device."""


@dataclass(frozen=True)
class Perturbation:
    """What a file in this folder offers as `perturbation`."""

    change: Callable[[Tensor, float, Draw], Tensor]
    """(weight, strength, draw) -> change of the weight, same shape."""
    strengths: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
    """What calibration tries, weakest first."""
    is_symmetric: bool = False
    """Whether a change and its negative are equally likely. What such a change does in the first order is noise around
    zero, and a scan cancels it by measuring every draw both ways."""
    needs_tuning: bool = False
    """Whether `Draw.learned` is used, so that a short tuning run has to come first."""


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
    sign: int = 1,
    learned: Learned | None = None,
) -> Iterator[None]:
    """Perturb `modules`; a module's noise depends on `seed` and its own name, not on its company.

    `sign` -1 takes every change the other way; `learned` is for perturbations that need a tuning run.
    """
    originals: list[tuple[Tensor, Tensor]] = []
    try:
        for ref in modules:
            weight = model.get_parameter(topology.modules[ref].weight)
            generator = torch.Generator().manual_seed(seed * 1_000_003 + zlib.crc32(str(ref).encode()))
            draw = Draw(generator=generator, learned=functools.partial(_learned, learned, topology.modules[ref].path))
            delta = sign * perturbation.change(weight.detach(), strength, draw)
            originals.append((weight, weight.detach().clone()))
            weight.copy_((weight.float() + delta).to(weight.dtype))
        yield
    finally:
        for weight, original in originals:
            weight.copy_(original)


def _learned(learned: Learned | None, path: str, weight: Tensor) -> Tensor:
    assert learned is not None, "this perturbation needs a tuning run"
    return learned(path).to(weight.device)
