"""Draws: what a scan keeps per module, and how it is summed up with an interval; no torch."""

import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy import ndarray

from securetune.topology import ModuleRef

CONTROL = "control:"
"""Prefix of a control concept's drop; ``control:safety`` is the safety probe in the controls' own unit."""

Draws = Mapping[str, Sequence[Mapping[str, float]]]
"""Module -> one dict of drops per draw, as a scan stores it."""

_RESAMPLES = 500


def mean_drops(draws: Draws, signal: str) -> dict[str, float]:
    """Mean drop of every module over its draws, in one signal."""
    return {ref: statistics.fmean(draw[signal] for draw in found) for ref, found in draws.items()}


def from_layer(draws: Draws, first: int) -> Draws:
    """The draws without the layers before `first`."""
    return {ref: found for ref, found in draws.items() if ModuleRef.parse(ref).layer >= first}


def bootstrap(rows: ndarray, effect: Callable[[ndarray], float | None]) -> tuple[float, float]:
    """Percentile bootstrap interval (95 %) of an effect over rows; resamples without an effect (None) do not count."""
    chosen = np.random.default_rng(0).integers(len(rows), size=(_RESAMPLES, len(rows)))
    found = [value for sample in chosen if (value := effect(rows[sample])) is not None]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
