"""Agreement: do two signals rank the modules alike, and would the same signal do so twice?

Spearman's rank correlation over modules, with a percentile bootstrap interval over modules. It answers a published
objection: a probe's drop may show a shift of the features only, while refusals are untouched, or the other way round.
Reads a scan's draws; no torch.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 500
CLOSE = 0.5
"""Rank correlation from which on two signals count as agreeing."""

CONTROL = "control:"
"""Prefix of a control concept's drop; ``control:safety`` is the safety probe in the controls' own unit."""

Draws = Mapping[str, Sequence[Mapping[str, float]]]
"""Module -> one dict of drops per draw, as a scan stores it."""


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
    signals = _signals(draws)
    means = {s: [float(np.mean([draw[s] for draw in found])) for found in draws.values()] for s in signals}
    return [_agreement(a, b, means[a], means[b]) for a, b in itertools.combinations(signals, 2)]


def repeat_agreement(draws: Draws) -> list[Agreement]:
    """Agreement of every signal with itself between two halves of the draws; empty for a single draw."""
    half = min(len(found) for found in draws.values()) // 2
    if half == 0:
        return []
    signals = _signals(draws)
    halves = [
        {s: [float(np.mean([draw[s] for draw in found[part]])) for found in draws.values()] for s in signals}
        for part in (slice(0, half), slice(half, 2 * half))
    ]
    return [_agreement(s, s, halves[0][s], halves[1][s]) for s in signals]


def disagreement_sentence(agreements: Sequence[Agreement], probe: str, behaviour: str) -> str:
    """What the agreement of a probe signal and a behavioural signal means, in one plain sentence."""
    found = next(x for x in agreements if {x.a, x.b} == {probe, behaviour})
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
    return [name for name in next(iter(draws.values()))[0] if not name.startswith(CONTROL)]


def _agreement(a: str, b: str, x: Sequence[float], y: Sequence[float]) -> Agreement:
    first, second = (stats.rankdata(values) for values in (x, y))
    if first.std() == 0 or second.std() == 0:
        return Agreement(a=a, b=b, n=len(x), rho=None)
    rows = np.random.default_rng(0).integers(len(x), size=(RESAMPLES, len(x)))
    resampled = [stats.spearmanr(first[row], second[row]).statistic for row in rows if _varies(first[row], second[row])]
    low, high = np.percentile(resampled, [2.5, 97.5])
    rho = float(stats.spearmanr(first, second).statistic)
    return Agreement(a=a, b=b, n=len(x), rho=rho, low=float(low), high=float(high))


def _varies(*samples: np.ndarray) -> bool:
    return all(sample.std() > 0 for sample in samples)
