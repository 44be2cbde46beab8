"""Reliability: how far would the ranking of the modules repeat itself with other draws?

Two halves of a scan's draws rank the modules; their rank correlation, stepped up to all the draws (Spearman 1910, Brown
1910), is how far two whole scans of other draws would agree. It counts the noise of the draws only: the prompts are the
same in both halves. Layer 0 stands out in most models and makes the number look good, so it is left out once, too.
Reads a scan's draws; no torch.
"""

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scipy import stats

from securetune.scan.draws import Draws, from_layer, mean_drops

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
        draws=min(len(repeats) for repeats in draws.values()),
        everywhere=everywhere,
        beyond_first_layer=beyond,
    )


def overlap(draws: Draws, signal: str, size: int) -> float | None:
    """Intersection over union of the `size` most robust modules by two halves of the draws; None for one draw.

    Two random sets of `size` of n modules have about size / (2 n - size).
    """
    half = min(len(repeats) for repeats in draws.values()) // 2
    if half == 0 or size == 0:
        return None
    splits = itertools.islice(_halves(2 * half), _SPLITS)
    return statistics.fmean(
        len(one & other) / len(one | other)
        for one, other in ((_head(draws, signal, a, size), _head(draws, signal, b, size)) for a, b in splits)
    )


def _head(draws: Draws, signal: str, chosen: Sequence[int], size: int) -> set[str]:
    drops = dict(zip(draws, _means(draws, signal, chosen), strict=True))
    return set(sorted(drops, key=lambda ref: drops[ref])[:size])


def _stepped_up(draws: Draws, signal: str) -> float | None:
    """Mean agreement of two halves over the ways to halve, by Spearman and Brown's formula for the whole."""
    count = min((len(repeats) for repeats in draws.values()), default=0)
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
