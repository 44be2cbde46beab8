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

SETTINGS = {"prompts": "scan.prompts", "draws": "scan.max_draws"}
"""What is halved -> the setting that gives more of it."""


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


def by_halves(found: Sequence[Stability]) -> list[list[Stability]]:
    """What was found over prompts, then over draws, as far as there is a choice to compare."""
    groups = [[of for of in found if of.halves == halves] for halves in SETTINGS]
    return [group for group in groups if any(of.overlap is not None for of in group)]


def sentences(found: Sequence[Stability]) -> list[str]:
    """How far other prompts and other draws would choose the same modules, in words."""
    return [stability_sentence(group) for group in by_halves(found)]


def is_chance(group: Sequence[Stability]) -> bool:
    """Whether halves of one kind are not known to agree more than chance, without layer 0 where others differ."""
    return [of.overlap.is_chance for of in group if of.overlap is not None][-1]


def stability_sentence(group: Sequence[Stability]) -> str:
    """How far the other half of one kind would choose the same modules, in words."""
    measured = [(of, of.overlap) for of in group if of.overlap is not None]
    parts = [
        f"{'without layer 0 ' if of.first_layer else ''}{same.common:.1f} of {same.size} {of.chosen} modules stay the "
        f"same (chance: {same.chance_common:.1f})"
        for of, same in measured
    ]
    halves = group[0].halves
    sentence = f"Found from the other half of the {halves}, {', '.join(parts)}"
    if len(measured) < len(group):
        sentence += "; beyond layer 0 all modules are on one side"
    if is_chance(group):
        sentence += f": not known to be better than chance, so other {halves} may choose other modules."
        return f"{sentence} Raise {SETTINGS[halves]}."
    return f"{sentence}."
