"""Stability: do two halves of the evidence choose the same modules, more than chance would let them?

Intersection over union (Jaccard 1901). How many modules two random choices of k of m have in common is hypergeometric:
k^2 / m on average. Two choices of nearly everything overlap whatever they mean, so the smaller side is compared: the
robust modules, or the sensitive ones. Answers an objection: safety regions identified with other data overlap little
(arXiv 2602.17696).
"""

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What two choices of `size` of `total` have in common, a mean over pairs of choices, beside two random ones."""

    size: int
    total: int
    common: float
    """Number in both."""
    iou: float
    """Intersection over union."""
    chance_common: float
    chance_iou: float
    is_chance: bool
    """Whether at least one in twenty pairs of random choices has as much in common."""

    @property
    def corrected(self) -> float:
        """The IoU with chance at 0 and identity at 1."""
        return (self.iou - self.chance_iou) / (1 - self.chance_iou)


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Of a ranking and the choice by it, between halves of what it was measured on."""

    halves: Literal["draws", "prompts"]
    first_layer: int
    """Layers before it are left out."""
    reliability: float | None
    """Of the ranking, stepped up from the halves to the whole; None where it does not vary."""
    chosen: Literal["robust", "sensitive"]
    """Which modules were compared: the fewer."""
    overlap: Overlap | None
    """None where all modules are on one side."""


def overlap(pairs: Sequence[tuple[Collection[str], Collection[str]]], total: int) -> Overlap:
    """The overlap of pairs of choices, each of the same number of things out of `total`; neither none nor all."""
    from scipy import stats  # a second to import, which readers of a stored result need not wait for

    size = len(pairs[0][0])
    commons = [len(set(one) & set(other)) for one, other in pairs]
    common, random = statistics.fmean(commons), stats.hypergeom(total, size, size)
    return Overlap(
        size=size,
        total=total,
        common=common,
        iou=statistics.fmean(shared / (2 * size - shared) for shared in commons),
        chance_common=float(random.mean()),
        chance_iou=float(sum(random.pmf(shared) * shared / (2 * size - shared) for shared in range(size + 1))),
        is_chance=bool(common <= random.ppf(0.95)),
    )


def prompts_sentence(found: Sequence[Stability]) -> str:
    """How far other prompts would choose the same modules, in words; empty where that was not measured."""
    over_prompts = [of for of in found if of.halves == "prompts"]
    measured = [(of, of.overlap) for of in over_prompts if of.overlap is not None]
    if not measured:
        return ""
    parts = [
        f"{'without layer 0 ' if of.first_layer else ''}{same.common:.1f} of {same.size} {of.chosen} modules stay the "
        f"same (chance: {same.chance_common:.1f})"
        for of, same in measured
    ]
    sentence = f"Found from the other half of the prompts, {', '.join(parts)}"
    if len(measured) < len(over_prompts):
        sentence += "; beyond layer 0 all modules are on one side"
    if is_chance(found):
        return f"{sentence}: not better than chance, so other prompts would choose other modules. Raise scan.prompts."
    return f"{sentence}."


def is_chance(found: Sequence[Stability]) -> bool:
    """Whether halves of the prompts agree no more than chance, without layer 0 where there are other layers."""
    verdicts = [of.overlap.is_chance for of in found if of.halves == "prompts" and of.overlap is not None]
    return bool(verdicts) and verdicts[-1]
