"""Signals: do they rank the modules alike, and would the same signal do so twice?"""

import operator
from dataclasses import dataclass

from securetune.report.reading import Run
from securetune.report.sections.base.section import Section, Table
from securetune.scan.agreement import Agreement, disagreement_sentence, repeat_agreement, signal_agreement


@dataclass(frozen=True, kw_only=True)
class Agreements:
    """Probe against behaviour in words, and every pair in numbers."""

    sentence: str
    pairs: Table


def data(run: Run) -> Agreements:
    """Each signal against itself, then against the others."""
    pairs = signal_agreement(run.scan.draws)
    return Agreements(
        sentence=disagreement_sentence(pairs, "probe_margin", "refusal_margin"),
        pairs=Table(
            label="Agreement of signals",
            head=["signals", "verdict", "modules", "Spearman, 95 % interval"],
            rows=[_row(pair) for pair in (*repeat_agreement(run.scan.draws), *pairs)],
        ),
    )


def _row(pair: Agreement) -> list[object]:
    names = f"{pair.a} between draws" if pair.a == pair.b else f"{pair.a} and {pair.b}"
    rho = "–" if pair.rho is None else f"{pair.rho:.2f} [{pair.low:.2f}, {pair.high:.2f}]"
    return [names, pair.verdict, pair.n, rho]


section = Section(
    title="Do the signals agree?", anchor="signals", is_folded=True, result=operator.attrgetter("sentence"),
    stages=("scan",), data=data,
)  # fmt: skip
