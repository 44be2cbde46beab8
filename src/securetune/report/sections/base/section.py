"""Section: what is one part of the report, and of what does its markup consist?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from securetune.report.reading import Run

Figures = dict[str, Figure]
"""Figures by a name fit for a file."""


def no_figures(run: Run) -> Figures:
    """What a section without figures draws."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the report."""

    title: str | None
    """Its heading; None for the part that needs none."""
    anchor: str
    """What a link to it names."""
    data: Callable[[Run], object | None]
    """What its markup shows; None leaves the section out."""
    navigation: str | None = None
    """What it is called in the navigation, which stands above the first section that is in it."""
    is_folded: bool = False
    """Whether it is closed until somebody opens it."""
    result: Callable[[Any], str] | None = None
    """What it found, in one sentence that is seen while it is closed; of what `data` returned."""
    stages: tuple[str, ...] = ()
    """The stages without whose results it is left out, figures and all."""
    figures: Callable[[Run], Figures] = no_figures
    """The figures its markup shows; they are stored as files too."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; the first cell of every row is its head. Shown by the macro ``table`` of ``base/table.html``."""

    label: str
    """What it is, for who cannot see it."""
    head: Sequence[str]
    rows: Sequence[Sequence[object]]
