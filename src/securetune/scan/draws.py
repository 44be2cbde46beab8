"""Draws: what a scan keeps per module, and how it is summed up with an interval; no torch."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy import ndarray

from securetune.models.topology import ModuleRef

CONTROL = "control:"
"""Prefix of a control concept's drop; ``control:safety`` is the safety probe in the controls' own unit."""
SPECIFIC = "safety_minus_controls"
"""Name of the safety probe's drop minus the mean drop of the control concepts, all in the controls' unit."""
REFITTED = "refit_auroc"
"""Name of the drop that is left when the probe may be fitted anew on the perturbed features."""
ANSWERS = "refused_answers"
"""Name of the drop in the share of malicious prompts that the model refuses in its generated answers."""
PROMPTS = "prompts"
"""Not a drop: how many malicious prompts a race read for the module."""
PART = "part:"
"""Prefix of the drop of the followed signal on one of `PARTS` disjoint random parts of the prompts."""
PARTS = 8

Draws = Mapping[str, Sequence[Mapping[str, float]]]
"""Module -> one dict of drops per draw, as a scan stores it."""

_RESAMPLES = 500


def mean_drops(draws: Draws, signal: str) -> dict[str, float]:
    """Mean drop of every module over its draws, in one signal."""
    return {ref: statistics.fmean(draw[signal] for draw in repeats) for ref, repeats in draws.items()}


def standard_errors(draws: Draws, signal: str) -> dict[str, float]:
    """Standard error of that mean, over draws; not a number for a single draw."""
    return {
        ref: statistics.stdev(draw[signal] for draw in repeats) / len(repeats) ** 0.5 if len(repeats) > 1 else math.nan
        for ref, repeats in draws.items()
    }


def intervals(draws: Draws, signal: str) -> dict[str, tuple[float, float]]:
    """95 % interval of that mean by Student's t over draws; not a number for a single draw."""
    from scipy import stats  # a second to import, and only these intervals need it

    means, errors = mean_drops(draws, signal), standard_errors(draws, signal)
    reach = {ref: stats.t.ppf(0.975, max(len(repeats) - 1, 1)) * errors[ref] for ref, repeats in draws.items()}
    return {ref: (means[ref] - reach[ref], means[ref] + reach[ref]) for ref in draws}


def from_layer(draws: Draws, first: int) -> Draws:
    """The draws without the layers before `first`."""
    return {ref: repeats for ref, repeats in draws.items() if ModuleRef.parse(ref).layer >= first}


def prompt_parts(draws: Draws, signal: str) -> Draws:
    """The means over the draws, one for every part of the prompts, in the place of draws; none where none were kept."""
    kept = set[str].intersection(*(set(draw) for repeats in draws.values() for draw in repeats))
    parts = sorted(name for name in kept if name.startswith(PART))
    means = {part: mean_drops(draws, part) for part in parts}
    return {ref: [{signal: means[part][ref]} for part in parts] for ref in draws}


def bootstrap(rows: ndarray, effect: Callable[[ndarray], float | None]) -> tuple[float, float]:
    """Percentile bootstrap interval (95 %) of an effect over rows; resamples without an effect (None) do not count."""
    samples = np.random.default_rng(0).integers(len(rows), size=(_RESAMPLES, len(rows)))
    effects = [value for sample in samples if (value := effect(rows[sample])) is not None]
    low, high = np.percentile(effects, [2.5, 97.5])
    return float(low), float(high)
