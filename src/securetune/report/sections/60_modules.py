"""Modules: how much safety does each module cost when it alone is perturbed?"""

import statistics
from dataclasses import dataclass

from securetune.report.reading import Run
from securetune.report.sections.base.section import Section, Table
from securetune.scan.draws import PROMPTS, REFITTED, SPECIFIC, Draws, intervals, mean_drops, standard_errors
from securetune.scan.reliability import overlap, reliability
from securetune.scan.result import ScanResult


@dataclass(frozen=True, kw_only=True)
class Modules:
    """Every module, and how it was measured."""

    scan: ScanResult
    signal: str
    """The one that the search followed."""
    range: float
    """Of that signal."""
    draws: int
    prompts: float | None
    """Malicious prompts that racing read per module, on average; None for another method."""
    drops: Table
    cautions: list[str]
    """What to know before relying on the robust set."""
    reliability: str
    stability: str


def data(run: Run) -> Modules:
    """Every module's drop, most sensitive first."""
    result, signal = run.scan, run.search.signal
    return Modules(
        scan=result,
        signal=signal,
        range=result.ranges[signal],
        draws=len(next(iter(result.draws.values()))),
        prompts=statistics.fmean(result.mean(PROMPTS).values()) if result.method == "race" else None,
        cautions=run.search.cautions,
        reliability=reliability(result.draws, signal).sentence,
        stability=_stability(result.draws, signal, len(run.search.robust)),
        drops=Table(
            label="Drop of every module",
            head=["module", f"drop of {signal}", "AUROC drop of a refitted probe", "safety minus controls"],
            rows=_rows(result.draws, signal),
        ),
    )


def _stability(draws: Draws, signal: str, size: int) -> str:
    """How far other draws would have ranked the same modules as the most robust, against chance."""
    share = overlap(draws, signal, size)
    if share is None:
        return ""
    chance = size / (2 * len(draws) - size)
    return (
        f"The {size} most robust modules by one half of the draws and by the other have {100 * share:.0f} % of their "
        f"union in common; of random sets of {size} it would be about {100 * chance:.0f} %."
    )


def _rows(draws: Draws, signal: str) -> list[list[str]]:
    """Every module's drop with its standard error, and what safety loses more than the controls with its interval."""
    drops, errors = mean_drops(draws, signal), standard_errors(draws, signal)
    measured = next(iter(draws.values()))[0]
    refitted = mean_drops(draws, REFITTED) if REFITTED in measured else {}
    specific = mean_drops(draws, SPECIFIC) if SPECIFIC in measured else {}
    reach = intervals(draws, SPECIFIC) if specific else {}
    return [
        [
            ref,
            f"{drops[ref]:.3f} ± {errors[ref]:.3f}",
            f"{refitted[ref]:.3f}" if refitted else "–",
            f"{specific[ref]:.3f} [{reach[ref][0]:.3f}, {reach[ref][1]:.3f}]" if specific else "–",
        ]
        for ref in sorted(draws, key=lambda ref: -drops[ref])
    ]


def result(found: Modules) -> str:
    """The module that safety depends on most."""
    module, drop, *_ = found.drops.rows[0]
    return f"Of {len(found.drops.rows)} modules {module} is the most sensitive: drop of {found.signal} {drop}."


section = Section(
    title="Every module", anchor="modules", navigation="Modules", is_folded=True, result=result,
    stages=("scan", "search"), data=data,
)  # fmt: skip
