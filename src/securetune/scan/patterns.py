"""Patterns: do the paper's three observations hold on this model, and do they hold for safety alone?

Source: Du et al. 2024, arXiv 2410.04524: (A) earlier layers are more sensitive, (B) Q and K are more sensitive than
other modules, (C) modules that are robust alone can be sensitive together. Each is an effect size with a percentile
bootstrap interval, and each is repeated on the safety drop minus the mean drop of the control concepts.
Reads a scan's draws; no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray
from scipy import stats

from securetune.models.topology import ModuleRef
from securetune.scan.draws import SPECIFIC, Draws, bootstrap, mean_drops


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """One observation of the paper, tested."""

    name: str
    signal: str
    """In which it was measured."""
    effect: float
    """Positive where the paper is right, between -1 and 1 for A and B, a share of the range for C."""
    low: float
    high: float
    n: int
    """Modules, or sets of modules for C."""

    @property
    def verdict(self) -> str:
        """By where the interval lies."""
        if self.low > 0:
            return "holds"
        return "does not hold" if self.high < 0 else "undecided on this model"


def tested_patterns(draws: Draws, signal: str, evaluated: Sequence[Mapping[str, Any]]) -> list[Pattern]:
    """All three patterns in `signal`, and again with the controls subtracted where there are any.

    `evaluated` holds the sets a search measured: ``modules`` and their joint ``drops``.
    """
    sets = [entry for entry in evaluated if len(entry["modules"]) > 1]
    patterns = []
    for name in (signal, SPECIFIC):
        if name not in next(iter(draws.values()))[0]:
            continue
        single = mean_drops(draws, name)
        patterns += _layers_and_roles(single, name)
        excess = [entry["drops"][name] - sum(single[ref] for ref in entry["modules"]) for entry in sets]
        if len(excess) > 1:
            title = "C: robust modules can be sensitive together (joint drop minus the sum of the single ones)"
            rows = np.array(excess)[:, None]
            patterns.append(_bootstrapped(title, name, rows, lambda rows: float(rows.mean())))
    return patterns


def _layers_and_roles(values: Mapping[str, float], signal: str) -> list[Pattern]:
    refs = [ModuleRef.parse(ref) for ref in values]
    table = np.array(
        [[ref.layer, float(ref.role in ("q", "k")), value] for ref, value in zip(refs, values.values(), strict=True)]
    )
    patterns = [_bootstrapped("A: earlier layers are more sensitive (minus Spearman)", signal, table, _earlier)]
    if 0 < table[:, 1].sum() < len(table):
        patterns.append(
            _bootstrapped("B: Q and K are more sensitive than the rest (Cliff's delta)", signal, table, _queries)
        )
    return patterns


def _earlier(rows: ndarray) -> float:
    return -float(stats.spearmanr(rows[:, 0], rows[:, 2]).statistic) if rows[:, 2].std() > 0 else 0.0


def _queries(rows: ndarray) -> float:
    queries, rest = rows[rows[:, 1] == 1, 2], rows[rows[:, 1] == 0, 2]
    return float(np.sign(queries[:, None] - rest[None, :]).mean()) if len(queries) and len(rest) else 0.0


def _bootstrapped(name: str, signal: str, rows: ndarray, effect: Callable[[ndarray], float]) -> Pattern:
    low, high = bootstrap(rows, effect)
    return Pattern(name=name, signal=signal, effect=effect(rows), low=low, high=high, n=len(rows))
