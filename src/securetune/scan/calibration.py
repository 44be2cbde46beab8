"""Calibration: how strong is the perturbation, such that half of a model's modules lose the tolerance together?

A search looks for a large set that keeps the tolerance jointly, and at one strength the joint drop grows with the size
of the set. So sets are what is calibrated on, and not single modules: a random half of the modules then loses just the
tolerance, whether a model has 56 modules or 500, and a robust set above half is what the choice has gained.
"""

import bisect
import random
from collections.abc import Callable, Sequence

from securetune.models.topology import ModuleSet

HALVINGS = 2
"""Random ways to halve the modules; both halves of each are measured, so that every module counts as often."""
_REFINEMENTS = 3
"""Bisections between two strengths of the table, each in the geometric mean."""


def random_halves(modules: ModuleSet, seed: int) -> list[ModuleSet]:
    """Random halves of the modules, each followed by what it leaves."""
    refs, draw = list(modules), random.Random(seed)
    halves = []
    for _ in range(HALVINGS):
        half = draw.sample(refs, len(refs) // 2)
        halves += [ModuleSet.of(half), ModuleSet.of(ref for ref in refs if ref not in half)]
    return [half for half in halves if len(half)]


def smallest_strength(reached: Callable[[float], bool], strengths: Sequence[float]) -> float:
    """The smallest strength that reaches what is wanted, to a twelfth; the last of the table where none does.

    Args:
        reached: whether a strength does; a stronger change is taken to lose more.
        strengths: a table, weakest first, between whose entries is searched.
    """
    first = bisect.bisect_left(strengths, True, key=reached)
    if first in (0, len(strengths)):
        return strengths[min(first, len(strengths) - 1)]
    low, high = strengths[first - 1], strengths[first]
    for _ in range(_REFINEMENTS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
