"""Statistics: how sure can one be of a rate, and of a difference between two models?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its sample size and its 95 % interval."""

    value: float
    n: int
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Exact McNemar test on paired yes-no outcomes."""

    gained: int
    """Pairs that went from no to yes."""
    lost: int
    """Pairs that went from yes to no."""
    p: float
    """Two-sided p value; 1 where nothing changed."""


def proportion(outcomes: Sequence[bool]) -> Estimate:
    """Share of true outcomes with Wilson's interval; at least one outcome."""
    successes, n = sum(outcomes), len(outcomes)
    interval = stats.binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(value=successes / n, n=n, low=float(interval.low), high=float(interval.high))


def mean(values: Sequence[float]) -> Estimate:
    """Mean with Student's t interval; the interval is the value itself for fewer than two values."""
    array = np.asarray(values, dtype=float)
    centre, n = float(array.mean()), len(array)
    if n < 2:
        return Estimate(value=centre, n=n, low=centre, high=centre)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * array.std(ddof=1) / n**0.5)
    return Estimate(value=centre, n=n, low=centre - half, high=centre + half)


def paired_bootstrap(
    pairs: Sequence[tuple[Sequence[bool], Sequence[bool]]], *, draws: int = 2000, seed: int = 0
) -> Estimate:
    """Mean change of a rate, over runs that are made of prompts: both are drawn anew, prompts with both outcomes.

    Args:
        pairs: per run, the outcomes before and after on the same prompts.
        draws: bootstrap samples.
        seed: seed of the samples.
    """
    changes = [np.asarray(after, dtype=float) - np.asarray(before, dtype=float) for before, after in pairs]
    rng = np.random.default_rng(seed)
    means = [
        np.mean(
            [
                rng.choice(changes[run], len(changes[run])).mean()
                for run in rng.integers(len(changes), size=len(changes))
            ]
        )
        for _ in range(draws)
    ]
    low, high = np.quantile(means, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Estimate(
        value=float(np.mean([change.mean() for change in changes])),
        n=sum(map(len, changes)),
        low=float(low),
        high=float(high),
    )


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> McNemar:
    """Compare two models on the same prompts, by the exact binomial test on the pairs that differ."""
    gained = sum(not b and a for b, a in zip(before, after, strict=True))
    lost = sum(b and not a for b, a in zip(before, after, strict=True))
    p = float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return McNemar(gained=gained, lost=lost, p=p)
