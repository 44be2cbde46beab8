"""Reliability: how far would the ranking of the modules, and the choice by it, repeat itself?

Two halves of a scan's draws rank the modules; their rank correlation, stepped up to all the draws (Spearman 1910, Brown
1910), is how far two whole scans of other draws would agree. It counts the noise of the draws only: the prompts are the
same in both halves. Halves of the prompts, with the same draws, are looked at in the same way. Layer 0 stands out in
most models and makes the numbers look good, so it is left out once, too.
Reads a scan's draws; no torch.
"""

import itertools
import statistics
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from securetune.measures.stability import Overlap, Stability, overlap
from securetune.scan.draws import Draws, from_layer, mean_drops, prompt_parts

USABLE = 0.5
"""Below this reliability a choice of modules is not better than a guess."""
_SPLITS = 70
"""Ways to halve the draws that are looked at: all of them for up to eight draws."""


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Of the ranking in one signal; None where one draw, or no variation, tells nothing."""

    signal: str
    draws: int
    """Per module."""
    everywhere: float | None
    beyond_first_layer: float | None

    @property
    def chosen(self) -> float | None:
        """The number that counts: without layer 0, where the model has other layers that vary."""
        return self.everywhere if self.beyond_first_layer is None else self.beyond_first_layer

    @property
    def is_guess(self) -> bool:
        """Whether a choice by this ranking is not known to be better than a guess."""
        return self.beyond_first_layer is None or self.beyond_first_layer < USABLE

    @property
    def sentence(self) -> str:
        """What it means for the choice of modules, in words."""
        if self.draws < 2:
            return (
                f"The scan has one draw per module, which cannot tell how far its ranking by {self.signal} repeats "
                "itself: take its choice of modules for a guess. Raise scan.max_draws."
            )
        numbers = f"{_number(self.beyond_first_layer)} without layer 0, {_number(self.everywhere)} with it"
        ranking = f"The ranking by {self.signal} has a reliability of {numbers} ({self.draws} draws per module)"
        if self.is_guess:
            return (
                f"{ranking}: its choice of modules is not better than a guess. Raise scan.max_draws, or scan.prompts."
            )
        return f"{ranking}."


def reliability(draws: Draws, signal: str) -> Reliability:
    """Reliability of the mean over all draws, in one signal."""
    everywhere, beyond = (_stepped_up(from_layer(draws, first), signal) for first in (0, 1))
    return Reliability(
        signal=signal,
        draws=_count(draws),
        everywhere=everywhere,
        beyond_first_layer=beyond,
    )


def stability(draws: Draws, signal: str, robust: Collection[str]) -> list[Stability]:
    """Stability between halves of the draws and of the prompts, of all modules and without layer 0.

    What has no halves is left out: a single draw, prompts that were not kept apart. The search is not made again: each
    half chooses as many modules as `robust` has, by its own ranking.
    """
    halved: dict[Literal["draws", "prompts"], Draws] = {"draws": draws, "prompts": prompt_parts(draws, signal)}
    found = []
    for (halves, parts), first in itertools.product(halved.items(), (0, 1)):
        some = from_layer(parts, first)
        if _count(some) < 2:
            continue
        size = sum(ref in robust for ref in some)
        is_small = 2 * size <= len(some)
        found.append(
            Stability(
                halves=halves,
                first_layer=first,
                reliability=_stepped_up(some, signal),
                chosen="robust" if is_small else "sensitive",
                overlap=_overlap(some, signal, min(size, len(some) - size), 1 if is_small else -1),
            )
        )
    return found


def _overlap(draws: Draws, signal: str, size: int, sign: int) -> Overlap | None:
    """Overlap of the `size` modules that two halves put first in the order of `sign` times the drop."""
    if size == 0:
        return None
    rng, refs = np.random.default_rng(0), list(draws)

    def first(half: Sequence[int]) -> set[str]:
        """Ties are broken at random: an order that halves share is no evidence."""
        order = np.lexsort((rng.random(len(refs)), sign * np.array(_means(draws, signal, half))))
        return {refs[i] for i in order[:size]}

    splits = itertools.islice(_halves(_count(draws)), _SPLITS)
    return overlap([(first(a), first(b)) for a, b in splits], len(refs))


def _count(draws: Draws) -> int:
    return min((len(repeats) for repeats in draws.values()), default=0)


def _stepped_up(draws: Draws, signal: str) -> float | None:
    """Mean agreement of two halves over the ways to halve, by Spearman and Brown's formula for the whole."""
    count = _count(draws)
    half = count // 2
    if half == 0 or len(draws) < 3:
        return None
    splits = itertools.islice(_halves(count), _SPLITS)
    agreements = [_spearman(_means(draws, signal, a), _means(draws, signal, b)) for a, b in splits]
    varied = [rho for rho in agreements if rho is not None]
    if not varied:
        return None
    rho, times = max(statistics.fmean(varied), 0.0), count / half
    return times * rho / (1 + (times - 1) * rho)


def _halves(count: int) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Two disjoint halves of the draws 0 to `count` - 1, in every way; of an odd number one is left out."""
    for first in itertools.combinations(range(count), count // 2):
        rest = [draw for draw in range(count) if draw not in first]
        yield from ((first, second) for second in itertools.combinations(rest, count // 2) if first < second)


def _means(draws: Draws, signal: str, chosen: Sequence[int]) -> list[float]:
    part = {ref: [repeats[i] for i in chosen] for ref, repeats in draws.items()}
    return list(mean_drops(part, signal).values())


def _spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """None where a side does not vary."""
    return float(stats.spearmanr(x, y).statistic) if min(len(set(x)), len(set(y))) > 1 else None


def _number(value: float | None) -> str:
    return "unknown (no variation)" if value is None else f"{value:.2f}"
