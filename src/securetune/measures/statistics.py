"""Statistics: how sure can one be of a rate, and of a difference between two models?

scipy.stats takes longer to import than a gate takes to run, so only the functions that need it import it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
_Z = 1.959963984540054
"""The standard normal's quantile at (1 + `CONFIDENCE`) / 2."""
_POWER = 0.8
_DRAWN_TOGETHER = 1_000_000
"""Random numbers that are held at once."""


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
    p = successes / n
    denominator = 2 * (n + _Z**2)
    centre = (2 * n * p + _Z**2) / denominator
    half = _Z / denominator * math.sqrt(4 * n * p * (1 - p) + _Z**2)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(value=p, n=n, low=low, high=high)


def mean(values: Sequence[float]) -> Estimate:
    """Mean with Student's t interval; the interval is the value itself for fewer than two values."""
    array = np.asarray(values, dtype=float)
    centre, n = float(array.mean()), len(array)
    if n < 2:
        return Estimate(value=centre, n=n, low=centre, high=centre)
    from scipy import stats

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


def paired_difference(before: Sequence[bool], after: Sequence[bool]) -> Estimate:
    """Change of a rate on the same prompts, with Newcombe's score interval (1998, Stat. Med. 17, 2635, method 10).

    Unlike a bootstrap's, the interval has a width where no prompt has changed.
    """
    return _newcombe(
        proportion(before), proportion(after), both=sum(b and a for b, a in zip(before, after, strict=True))
    )


def difference(before: Estimate, after: Estimate, *, lost: int | None = None) -> Estimate:
    """The same from two rates; `lost` counts the prompts that went from yes to no.

    Where nobody knows `lost`, or the rates are not of the same number of prompts, they count as independent, which
    makes the interval wider.
    """
    both = None
    if lost is not None and before.n == after.n:
        both = round(before.value * before.n) - lost
    return _newcombe(before, after, both=both)


def _newcombe(old: Estimate, new: Estimate, *, both: int | None) -> Estimate:
    """Change of a rate; `both` counts the prompts with yes before and after, None where they are not paired."""
    n, phi = old.n, 0.0
    if both is not None:
        only_before, only_after = round(old.value * n) - both, round(new.value * n) - both
        neither = n - both - only_before - only_after
        crossed = float(both * neither - only_before * only_after)
        if crossed > 0:
            crossed = max(crossed - n / 2, 0)  # the method's continuity correction
        scale = (both + only_before) * (only_after + neither) * (both + only_after) * (only_before + neither)
        phi = crossed / scale**0.5 if scale else 0.0

    def reach(of_old: float, of_new: float) -> float:
        return float(max(of_old**2 - 2 * phi * of_old * of_new + of_new**2, 0.0) ** 0.5)

    change = new.value - old.value
    low = change - reach(old.high - old.value, new.value - new.low)
    high = change + reach(old.value - old.low, new.high - new.value)
    return Estimate(value=change, n=n, low=low, high=high)


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> McNemar:
    """Compare two models on the same prompts, by the exact binomial test on the pairs that differ."""
    from scipy import stats

    gained = sum(not b and a for b, a in zip(before, after, strict=True))
    lost = sum(b and not a for b, a in zip(before, after, strict=True))
    p = float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return McNemar(gained=gained, lost=lost, p=p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values of several sets for having looked at all of them (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def cohens_kappa(first: Sequence[bool], second: Sequence[bool]) -> float | None:
    """Agreement of two judges beyond chance (Cohen 1960): 1 is full; None where both always say the same one thing."""
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    yes = sum(first) / n * sum(second) / n
    expected = yes + (1 - sum(first) / n) * (1 - sum(second) / n)
    return None if expected == 1 else (observed - expected) / (1 - expected)


def clustered(outcomes: Sequence[bool], clusters: Sequence[int], *, draws: int = 2000, seed: int = 0) -> Estimate:
    """Share of true outcomes with a bootstrap interval over clusters; `n` is their number.

    Near-copies of a prompt tell little more than one of them: drawn together, they do not count as independent.
    """
    if len(set(outcomes)) == 1:  # outcomes that are all alike have no bootstrap: Wilson's interval over the clusters
        return proportion([outcomes[0]] * len(set(clusters)))
    sizes, hits = np.bincount(clusters), np.bincount(clusters, weights=np.asarray(outcomes, dtype=float))
    rng, together = np.random.default_rng(seed), max(1, _DRAWN_TOGETHER // len(sizes))
    shares = []
    for start in range(0, draws, together):  # the stream of random numbers is the same however it is cut
        drawn = rng.integers(len(sizes), size=(min(together, draws - start), len(sizes)))
        shares += (hits[drawn].sum(1) / sizes[drawn].sum(1)).tolist()
    low, high = np.quantile(shares, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Estimate(value=float(np.mean(outcomes)), n=len(sizes), low=float(low), high=float(high))


def detectable_rise(n: int) -> float:
    """The smallest rise of a rate that n paired prompts show with 80 % power, if no prompt changes the other way.

    The exact McNemar test at 5 % needs six prompts that changed; each changes with the probability looked for.
    """
    from scipy import optimize, stats

    needed = 6
    if n < needed:
        return 1.0
    return float(optimize.brentq(lambda rise: stats.binom.sf(needed - 1, n, rise) - _POWER, 1e-9, 1.0))
