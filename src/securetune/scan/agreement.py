"""Agreement: do two signals rank the modules alike, and would the same signal do so twice?

Spearman's rank correlation over modules, with a percentile bootstrap interval over modules. It answers a published
objection: a probe's drop may show a shift of the features only, while refusals are untouched, or the other way round.
Reads a scan's draws; no torch.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from scipy import stats

from securetune.scan.draws import CONTROL, PART, PROMPTS, Draws, bootstrap, mean_drops

CLOSE = 0.5
"""Rank correlation from which on two signals count as agreeing."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Rank correlation of two lists of module sensitivities."""

    a: str
    b: str
    n: int
    """Number of modules."""
    rho: float | None
    """Spearman's rho; None where one side does not vary at all."""
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> str:
        """``agree``, ``disagree`` or ``undecided``, by where the interval lies; ``no variation`` without one."""
        if self.low is None or self.high is None:
            return "no variation"
        if self.low >= CLOSE:
            return "agree"
        return "disagree" if self.high < CLOSE else "undecided"


def signal_agreement(draws: Draws) -> list[Agreement]:
    """Agreement of every pair of signals, on the means over the draws."""
    means = {signal: list(mean_drops(draws, signal).values()) for signal in _signals(draws)}
    return [_agreement(a, b, means[a], means[b]) for a, b in itertools.combinations(means, 2)]


def repeat_agreement(draws: Draws) -> list[Agreement]:
    """Agreement of every signal with itself between two halves of the draws; empty for a single draw."""
    half = min(len(repeats) for repeats in draws.values()) // 2
    if half == 0:
        return []
    first = {ref: repeats[:half] for ref, repeats in draws.items()}
    second = {ref: repeats[half : 2 * half] for ref, repeats in draws.items()}
    return [
        _agreement(s, s, list(mean_drops(first, s).values()), list(mean_drops(second, s).values()))
        for s in _signals(draws)
    ]


def disagreement_sentence(agreements: Sequence[Agreement], probe: str, behaviour: str) -> str:
    """What the agreement of a probe signal and a behavioural signal means, in one plain sentence."""
    found = next((x for x in agreements if {x.a, x.b} == {probe, behaviour}), None)
    if found is None:
        return f"{probe} and {behaviour} cannot be compared: this scan has not measured both."
    if found.rho is None:
        return (
            f"{probe} and {behaviour} cannot be compared: one of them is the same for all {found.n} modules, so it "
            "cannot tell a robust module from a sensitive one."
        )
    numbers = f"(Spearman {found.rho:.2f} [{found.low:.2f}, {found.high:.2f}], {found.n} modules)"
    return {
        "agree": f"{probe} and {behaviour} rank the modules alike {numbers}.",
        "disagree": f"{probe} and {behaviour} disagree {numbers}, so the probe does not tell what carries refusals.",
        "undecided": f"Whether {probe} and {behaviour} rank the modules alike is undecided {numbers}.",
    }[found.verdict]


def _signals(draws: Draws) -> list[str]:
    return [name for name in next(iter(draws.values()))[0] if not name.startswith((CONTROL, PART)) and name != PROMPTS]


def _agreement(a: str, b: str, x: Sequence[float], y: Sequence[float]) -> Agreement:
    ranks = np.column_stack([stats.rankdata(values) for values in (x, y)])
    rho = _spearman(ranks)
    if rho is None:
        return Agreement(a=a, b=b, n=len(x), rho=None)
    low, high = bootstrap(ranks, _spearman)
    return Agreement(a=a, b=b, n=len(x), rho=rho, low=low, high=high)


def _spearman(rows: ndarray) -> float | None:
    """None where a column does not vary."""
    return float(stats.spearmanr(rows).statistic) if (rows.std(0) > 0).all() else None
