"""Modules: how much safety does each module cost when it alone is perturbed?"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from securetune.measures.stability import Stability, sentences
from securetune.report.reading import Run
from securetune.report.sections.base.section import Section, Table
from securetune.scan.draws import PROMPTS, REFITTED, SPECIFIC, Draws, intervals, mean_drops, standard_errors
from securetune.scan.reliability import reliability, stability
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
    stability: Table
    other_halves: list[str]
    """How far other prompts and other draws would choose the same modules, in words."""


def data(run: Run) -> Modules:
    """Every module's drop, most sensitive first."""
    result, signal = run.scan, run.search.signal
    # Older searches have not kept it; what the draws tell is in the scan.
    found = run.search.stability or stability(result.draws, signal, set(run.search.robust))
    return Modules(
        scan=result,
        signal=signal,
        range=result.ranges[signal],
        draws=len(next(iter(result.draws.values()))),
        prompts=statistics.fmean(result.mean(PROMPTS).values()) if result.method == "race" else None,
        cautions=run.search.cautions,
        reliability=reliability(result.draws, signal).sentence,
        stability=_stability(found),
        other_halves=sentences(found),
        drops=Table(
            label="Drop of every module",
            head=["module", f"drop of {signal}", "AUROC drop of a refitted probe", "safety minus controls"],
            rows=_rows(result.draws, signal),
        ),
    )


def _stability(found: Sequence[Stability]) -> Table:
    """A row for halves of the draws and of the prompts, of all modules and without layer 0."""
    return Table(
        label="Stability of the choice of modules",
        head=["halves of the", "modules", "reliability of the ranking", "chosen", "in both halves (by chance)",
              "IoU (by chance)", "IoU, chance taken off", "known to be better than chance"],
        rows=[
            [of.halves, "without layer 0" if of.first_layer else "all",
             "–" if of.reliability is None else f"{of.reliability:.2f}", *_overlap_cells(of)]
            for of in found
        ],
    )  # fmt: skip


def _overlap_cells(of: Stability) -> list[str]:
    same = of.overlap
    if same is None:
        return ["–"] * 5
    return [
        f"{same.size} {of.chosen} of {same.total}",
        f"{same.common:.1f} ({same.chance_common:.1f})",
        f"{same.iou:.2f} ({same.chance_iou:.2f})",
        f"{same.corrected:.2f}",
        "no" if same.is_chance else "yes",
    ]


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
            _known(f"{drops[ref]:.3f}", " ± {:.3f}", errors[ref]),
            f"{refitted[ref]:.3f}" if refitted else "–",
            _known(f"{specific[ref]:.3f}", " [{:.3f}, {:.3f}]", *reach[ref]) if specific else "–",
        ]
        for ref in sorted(draws, key=lambda ref: -drops[ref])
    ]


def _known(value: str, beside: str, *errors: float) -> str:
    """A value with its error; one draw has none."""
    return value if any(map(math.isnan, errors)) else value + beside.format(*errors)


def result(found: Modules) -> str:
    """The module that safety depends on most."""
    module, drop, *_ = found.drops.rows[0]
    return f"Of {len(found.drops.rows)} modules {module} is the most sensitive: drop of {found.signal} {drop}."


section = Section(
    title="Every module", anchor="modules", navigation="Modules", is_folded=True, result=result,
    stages=("scan", "search"), data=data,
)  # fmt: skip
