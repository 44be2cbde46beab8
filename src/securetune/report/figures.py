"""Figures: the heatmap layer x role and the front of skill against safety, as SVG or PNG; by matplotlib.

A figure that one section of the report shows stands beside that section.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text

from securetune.base.terminal import for_terminal
from securetune.measures.pareto import Tradeoff, on_front
from securetune.models.topology import ROLES, ModuleSet

_COLOURS = (
    "#3b78c2",
    "#d9792b",
    "#2f9e64",
    "#b0469c",
    "#8a6d3b",
    "#16a3b8",
    "#d1495b",
    "#7a6ff0",
    "#7f8c4d",
    "#8590a0",
)
"""Told apart on white and on black; on a page they are its variables ``--arm-0`` and so on."""
_LINES = ("-", "--", "-.", ":")
_PALE, _LOWER, _HIGHER = (0.5, 0.5, 0.5, 0.0), (0.16, 0.42, 0.78, 0.95), (0.84, 0.22, 0.18, 0.95)
"""A map's colours: no change lets the page's ground through."""
_MAP = LinearSegmentedColormap.from_list("change", [_LOWER, _PALE, _HIGHER])
INK, FAINT = "#000000", "#808080"
"""What a page draws in its own ink, and in a quieter one."""
_INK = (INK, "#262626")
"""How matplotlib writes black, which has to be light on a dark page."""
_FAINT = (FAINT, "#b0b0b0")
_ID = re.compile(r'((?: id="|href="#|url\(#))')
_STYLE = {"font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": "securetune", "font.size": 10}


@dataclass(frozen=True, kw_only=True)
class Series:
    """How one model looks in every figure."""

    color: str
    linestyle: str


def series(models: Sequence[str]) -> dict[str, Series]:
    """A look for every model of a run, by its name: the same in every figure, whichever models stand in it."""
    return {
        name: Series(color=_COLOURS[i % len(_COLOURS)], linestyle=_LINES[i // len(_COLOURS) % len(_LINES)])
        for i, name in enumerate(models)
    }


def heatmap(scores: Mapping[str, float], robust: Sequence[str], signal: str) -> Figure:
    """Sensitivity of every module; modules of the robust set carry a dot."""
    refs = list(ModuleSet.parse(scores))
    roles = [role for role in ROLES if any(ref.role == role for ref in refs)]
    layers = max(ref.layer for ref in refs) + 1
    grid = np.full((layers, len(roles)), np.nan)
    for ref in refs:
        grid[ref.layer, roles.index(ref.role)] = scores[str(ref)]
    figure = Figure(figsize=(0.75 * len(roles) + 2.2, max(2.5, 0.3 * layers + 1.2)))
    axes = figure.subplots()
    limit = max(float(np.nanmax(np.abs(grid))), 1e-6)
    image = axes.imshow(grid, cmap=_MAP, vmin=-limit, vmax=limit, aspect="auto", origin="lower")
    chosen = ModuleSet.parse(robust)
    axes.scatter([roles.index(ref.role) for ref in chosen], [ref.layer for ref in chosen], s=14, color=INK, marker="o")
    axes.set_xticks(range(len(roles)), roles)
    axes.set_ylabel("layer")
    axes.set_yticks(range(0, layers, max(1, layers // 16)))
    figure.colorbar(image, ax=axes, label=f"drop of {signal}\n(share of its range)")
    return figure


def pareto(models: Sequence[Tradeoff]) -> Figure:
    """Skill against ASR of every model, and the front that no other model beats in both."""
    figure = Figure(figsize=(5.4, 3.6))
    axes = figure.subplots()
    looks = series([model.title for model in models])
    ranked = sorted(models, key=lambda model: (model.asr, -model.skill))
    fronts = on_front(ranked)
    for number, (model, is_front) in enumerate(zip(ranked, fronts, strict=True), 1):
        point = (model.skill, 100 * model.asr)
        color = looks[model.title].color
        axes.scatter(
            *point, s=44 if is_front else 20, color=color, edgecolor=INK if is_front else color,
            zorder=3 if is_front else 2,
        )  # fmt: skip
        side = 4 if number % 2 else -4
        axes.annotate(
            str(number), point, xytext=(side, 0), textcoords="offset points", fontsize=9, va="center",
            ha="left" if number % 2 else "right",
        )  # fmt: skip
    names = "\n".join(f"{number}  {model.title}" for number, model in enumerate(ranked, 1))
    axes.text(1.03, 1.0, names, transform=axes.transAxes, fontsize=9, va="top")
    front = sorted((model.skill, 100 * model.asr) for model, is_front in zip(ranked, fronts, strict=True) if is_front)
    axes.plot(*zip(*front, strict=True), color=FAINT, linewidth=1, zorder=1)
    axes.set(xlabel="task skill (right is better)", ylabel="ASR, % (down is better)")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a picture, 200 dots per inch."""
    stream = io.BytesIO()
    _spell_out(figure)
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]  # the stub lists every key
        figure.savefig(stream, format="png", dpi=200, bbox_inches="tight")
    return stream.getvalue()


def themed(figure: Figure, name: str) -> str:
    """The figure as an SVG element in the colours of the page around it: no ground, the page's ink and its arms.

    Its ids begin with its name, so that no other figure of the page has them.
    """
    grounds = [(ground, ground.get_facecolor()) for ground in (figure.patch, *(axes.patch for axes in figure.axes))]
    for ground, _ in grounds:
        ground.set_facecolor("none")
    text = svg(figure)
    for ground, colour in grounds:
        ground.set_facecolor(colour)
    inks = {ink: "currentColor" for ink in _INK} | {ink: "var(--faint)" for ink in _FAINT}
    arms = {colour: f"var(--arm-{place})" for place, colour in enumerate(_COLOURS)}
    for colour, variable in (inks | arms).items():
        text = text.replace(f": {colour}", f": {variable}")
    text = _ID.sub(lambda mark: f"{mark[0]}{name}-", text)
    return text.replace("<text ", '<text fill="currentColor" ')


def svg(figure: Figure) -> str:
    """The figure as an SVG element, without the XML head that HTML does not take."""
    stream = io.StringIO()
    _spell_out(figure)
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]  # the stub lists every key
        figure.savefig(stream, format="svg", bbox_inches="tight", transparent=False, metadata={"Date": None})
    text = stream.getvalue()
    return for_terminal(text[text.index("<svg") :])


def _spell_out(figure: Figure) -> None:
    """Names may hold anything: no formula comes of a dollar sign."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
