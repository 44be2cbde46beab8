"""Render: one self-contained HTML file from a run's artifacts alone.

Model output is untrusted: everything goes through Jinja's autoescape; only our own figures, style and the sections'
own markup are marked safe.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from securetune.base.terminal import visible
from securetune.defences.base.arm import BASE, PLAIN
from securetune.report.figures import themed
from securetune.report.reading import ModelShape, Run
from securetune.report.sections import folders, shown
from securetune.report.sections.base.section import Section


@dataclass(frozen=True, kw_only=True)
class Part:
    """A section with its markup."""

    section: Section
    markup: Markup
    result: str | None
    """What it found, in one sentence; None where it has none."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page around the sections shows."""

    style: Markup
    model: ModelShape | None
    """None in a check, which looks at no modules."""
    version: str
    """Of securetune, when the run began."""
    parts: list[Part]

    @property
    def navigation(self) -> list[Section]:
        """The sections that the navigation links to."""
        return [part.section for part in self.parts if part.section.navigation is not None]

    @property
    def first_in_navigation(self) -> Part | None:
        """The part above which the navigation stands."""
        return next((part for part in self.parts if part.section.navigation is not None), None)


def render_report(run: Run, figures: Mapping[str, Figure] | None = None) -> str:
    """The report as HTML text.

    Args:
        run: a finished run.
        figures: its figures, where they are drawn already.

    Raises:
        ArtifactError: something that a section shows has not been done.
    """
    for arm in (BASE,) if run.is_check else (BASE, PLAIN):
        run.model(arm)
    shape = None if run.is_check else run.topology
    figures = report_figures(run) if figures is None else figures
    svgs = {name: Markup(themed(figure, name)) for name, figure in figures.items()}  # noqa: S704  our own SVG
    environment = Environment(
        loader=FileSystemLoader(folders()), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=html_text,
    )  # fmt: skip
    parts = []
    for name, section in shown(run).items():
        data = section.data(run)
        if data is not None:
            markup = environment.get_template(f"{name}.html").render(data=data, figures=svgs)
            result = None if section.result is None else section.result(data)
            parts.append(Part(section=section, markup=Markup(markup), result=result))  # noqa: S704  escaped above
    page = Page(
        style=Markup((folders()[0] / "base" / "style.css").read_text(encoding="utf-8")),  # noqa: S704  our own
        model=shape,
        version=run.artifacts[0].versions.get("securetune", ""),
        parts=parts,
    )
    return environment.get_template("base/base.html").render(page=page)


def html_text(value: object) -> object:
    """What a template shows, before it is escaped: no control character hides in it or turns its direction round."""
    return visible(value) if type(value) is str else value


def report_figures(run: Run) -> dict[str, Figure]:
    """Every figure of the report by a name fit for a file; ``heatmap_<signal>`` for every signal that was measured."""
    return {name: figure for section in shown(run).values() for name, figure in section.figures(run).items()}
