"""Figures: the heatmap layer x role and the front of skill against safety, as SVG or PNG; by matplotlib.

A figure that one section of the report shows stands beside that section.
"""

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from securetune.base.terminal import for_terminal
from securetune.measures.pareto import Tradeoff, on_front
from securetune.models.topology import ROLES, ModuleSet

_STYLE = {"font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": "securetune", "font.size": 10}


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
    image = axes.imshow(grid, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", origin="lower")
    chosen = ModuleSet.parse(robust)
    axes.scatter(
        [roles.index(ref.role) for ref in chosen], [ref.layer for ref in chosen], s=14, color="black", marker="o"
    )
    axes.set_xticks(range(len(roles)), roles)
    axes.set_ylabel("layer")
    axes.set_yticks(range(0, layers, max(1, layers // 16)))
    figure.colorbar(image, ax=axes, label=f"drop of {signal}\n(share of its range)")
    return figure


def pareto(models: Sequence[Tradeoff]) -> Figure:
    """Skill against ASR of every model, and the front that no other model beats in both."""
    figure = Figure(figsize=(7.2, 4.8))
    axes = figure.subplots()
    ranked = sorted(models, key=lambda model: (model.asr, -model.skill))
    fronts = on_front(ranked)
    for number, (model, is_front) in enumerate(zip(ranked, fronts, strict=True), 1):
        point = (model.skill, 100 * model.asr)
        color = "tab:blue" if is_front else "lightgray"
        axes.scatter(*point, s=28, color=color, edgecolor="black", zorder=3 if is_front else 2)
        side = 4 if number % 2 else -4
        axes.annotate(
            str(number), point, xytext=(side, 0), textcoords="offset points", fontsize=7, va="center",
            ha="left" if number % 2 else "right",
        )  # fmt: skip
    names = "\n".join(f"{number}  {model.title}" for number, model in enumerate(ranked, 1))
    axes.text(1.03, 1.0, names, transform=axes.transAxes, fontsize=8, va="top")
    front = sorted((model.skill, 100 * model.asr) for model, is_front in zip(ranked, fronts, strict=True) if is_front)
    axes.plot(*zip(*front, strict=True), color="tab:blue", linewidth=1, zorder=1)
    axes.set(xlabel="task skill (right is better)", ylabel="ASR, % (down is better)")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a picture, 200 dots per inch."""
    stream = io.BytesIO()
    _spell_out(figure)
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]  # the stub lists every key
        figure.savefig(stream, format="png", dpi=200, bbox_inches="tight")
    return stream.getvalue()


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
