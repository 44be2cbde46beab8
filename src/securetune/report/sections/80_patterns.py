"""Patterns: do the paper's three observations hold on this model?"""

from dataclasses import asdict, dataclass

from securetune.report.reading import Run
from securetune.report.sections.base.section import Section, Table
from securetune.scan.controls import READABLE_AUROC
from securetune.scan.findings import Control
from securetune.scan.patterns import tested_patterns


@dataclass(frozen=True, kw_only=True)
class Patterns:
    """The tested patterns, and the concepts that serve as controls."""

    tested: Table
    readable: float
    """The least AUROC of a control."""
    controls: dict[str, Control]


def data(run: Run) -> Patterns:
    """Every pattern in the search's signal, and for safety alone."""
    sets = [asdict(measured) for measured in run.search.evaluated]
    return Patterns(
        tested=Table(
            label="Patterns of the paper",
            head=["pattern", "verdict", "measured in", "n", "effect, 95 % interval"],
            rows=[
                [
                    pattern.name,
                    pattern.verdict,
                    pattern.signal,
                    pattern.n,
                    f"{pattern.effect:.2f} [{pattern.low:.2f}, {pattern.high:.2f}]",
                ]
                for pattern in tested_patterns(run.scan.draws, run.search.signal, sets)
            ],
        ),
        readable=READABLE_AUROC,
        controls=run.probe.controls,
    )


def result(found: Patterns) -> str:
    """How many of the tests speak for the paper."""
    verdicts = [row[1] for row in found.tested.rows]
    held, failed = (verdicts.count(word) for word in ("holds", "does not hold"))
    undecided = len(verdicts) - held - failed
    return f"Of {len(verdicts)} tests {held} hold, {failed} do not, {undecided} are undecided on this model."


section = Section(
    title="Do the paper's patterns hold on this model?",
    anchor="patterns",
    is_folded=True,
    result=result,
    stages=("probe", "scan", "search"),
    data=data,
)
