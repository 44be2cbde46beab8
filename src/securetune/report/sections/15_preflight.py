"""Preflight: was it worth measuring anything here, and what was left out of the data?"""

from dataclasses import dataclass

from securetune.report.preflight import preflight_lines
from securetune.report.reading import Run
from securetune.report.sections.base.section import Section, Table


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What was looked at before any work."""

    faults: list[str]
    notes: list[str]
    table: Table


def data(run: Run) -> Looked | None:
    """Everything that the preflight found; nothing for a run of a version that had none."""
    found = run.preflight
    if found is None:
        return None
    return Looked(
        faults=found.faults,
        notes=found.notes,
        table=Table(
            label="Before any work",
            head=["looked at", "found"],
            rows=[[line.what, line.found] for line in preflight_lines(found)],
        ),
    )


section = Section(title=None, anchor="preflight", data=data)
