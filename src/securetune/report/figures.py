"""Figures: heatmap layer x role, radar before and after, curves, fronts; by matplotlib, as SVG or PNG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from securetune.models.topology import ROLES, ModuleSet
from securetune.report.tables import PROBE_TESTS, Row

_STYLE = {"font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": "securetune", "font.size": 10}

_SETS = 8
"""Sets in the radar; more cannot be read."""


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


def radar(rows: Sequence[Row]) -> Figure:
    """Safety, helpfulness, coherence and task of every model, on the first sets; outside is better."""
    axes_names = [*(_axis(b) for b in rows[0].benchmarks[:_SETS]), "coherent", "task"]
    angles = np.linspace(0, 2 * np.pi, len(axes_names), endpoint=False)
    figure = Figure(figsize=(6.4, 4.8))
    axes = figure.add_subplot(projection="polar")
    for row in rows:
        values = [_goodness(b) for b in row.benchmarks[:_SETS]]
        values.append(min(b["coherent"]["value"] for b in row.benchmarks))
        values.append(row.score["value"] if row.score else min(1.0, min(r.loss for r in rows) / row.loss))
        axes.plot([*angles, angles[0]], [*values, values[0]], label=row.title, linewidth=1.6)
    axes.set_xticks(angles, axes_names)
    axes.tick_params(axis="x", pad=6)
    for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
        side = round(float(np.cos(angle)), 6)
        label.set_horizontalalignment("left" if side > 0 else "right" if side < 0 else "center")
    axes.set_ylim(0, 1)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=3, frameon=False)
    return figure


def curves(logs: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Training loss by step of every defence."""
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.subplots()
    for title, entries in logs.items():
        points = [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]
        if points:
            axes.plot(*zip(*points, strict=True), label=title, linewidth=1.4)
    axes.set(xlabel="step", ylabel="training loss (nats per answer token)")
    axes.legend(frameon=False)
    return figure


def monitored(logs: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure | None:
    """Refusal margin on watched malicious prompts by step of every defence; None where nobody watched."""
    watched = {title: [e for e in entries if "eval_safety_margin" in e] for title, entries in logs.items()}
    if not any(watched.values()):
        return None
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.subplots()
    for title, entries in watched.items():
        if entries:
            steps, margins = [e["step"] for e in entries], [e["eval_safety_margin"] for e in entries]
            axes.plot(steps, margins, label=title, linewidth=1.4)
    axes.axhline(0, color="black", linewidth=0.8, linestyle="--")
    axes.set(xlabel="step", ylabel="mean refusal margin (nats)")
    axes.legend(frameon=False)
    return figure


def joint_drop(evaluated: Sequence[Mapping[str, float]], tolerance: float, chosen: int) -> Figure:
    """Joint drop of every set the search measured, against its size."""
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.subplots()
    axes.scatter([e["size"] for e in evaluated], [e["drop"] for e in evaluated], s=12)
    axes.axhline(tolerance, color="black", linewidth=0.8, linestyle="--", label="tolerance")
    axes.axvline(chosen, color="tab:red", linewidth=0.8, label="robust set")
    axes.set(xlabel="modules perturbed jointly", ylabel="drop (share of range)")
    axes.legend(frameon=False)
    return figure


def pareto(points: Sequence[tuple[str, float, float, bool]]) -> Figure:
    """Skill against ASR of every method, and the front that no other method beats in both.

    Args:
        points: title, skill, ASR, and whether it is on the front.
    """
    figure = Figure(figsize=(7.2, 4.8))
    axes = figure.subplots()
    ranked = sorted(points, key=lambda point: (point[2], -point[1]))
    for number, (_, skill, asr, is_front) in enumerate(ranked, 1):
        color = "tab:blue" if is_front else "lightgray"
        axes.scatter([skill], [100 * asr], s=28, color=color, edgecolor="black", zorder=3 if is_front else 2)
        side = 4 if number % 2 else -4
        axes.annotate(
            str(number), (skill, 100 * asr), xytext=(side, 0), textcoords="offset points", fontsize=7, va="center",
            ha="left" if number % 2 else "right",
        )  # fmt: skip
    names = "\n".join(f"{number}  {title}" for number, (title, *_) in enumerate(ranked, 1))
    axes.text(1.03, 1.0, names, transform=axes.transAxes, fontsize=8, va="top")
    front = sorted((skill, 100 * asr) for _, skill, asr, is_front in points if is_front)
    axes.plot(*zip(*front, strict=True), color="tab:blue", linewidth=1, zorder=1)
    axes.set(xlabel="task skill (right is better)", ylabel="ASR, % (down is better)")
    return figure


def probe_by_layer(layers: Sequence[Mapping[str, Any]]) -> Figure:
    """Accuracy of a probe on every layer: on unseen prompts of its own kind, and on every benchmark."""
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.subplots()
    lines: dict[str, list[float]] = {}
    for found in layers:
        for name, test in found["tests"].items():
            if name != "train":
                lines.setdefault(PROBE_TESTS[name], []).append(test["accuracy"])
        for entry in found["transfer"]:
            lines.setdefault(entry["benchmark"], []).append(entry["accuracy"]["value"])
    for name, values in lines.items():
        axes.plot(range(len(values)), values, label=name, linewidth=1.4, marker="o", markersize=3)
    axes.set(xlabel="layer", ylabel="on the right side of the probe", ylim=(-0.02, 1.02))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return figure


def _goodness(benchmark: Mapping[str, Any]) -> float:
    """The first rate, turned so that 1 is best."""
    value: float = next(iter(benchmark["rates"].values()))["value"]
    return value if benchmark["kind"] == "skill" else 1 - value


def _axis(benchmark: Mapping[str, str]) -> str:
    what = {"harmful": "refuses", "benign": "answers", "skill": "right"}[benchmark["kind"]]
    return f"{what}\n{benchmark['benchmark']}"


def png(figure: Figure) -> bytes:
    """The figure as a picture, 200 dots per inch."""
    stream = io.BytesIO()
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]  # the stub lists every key
        figure.savefig(stream, format="png", dpi=200, bbox_inches="tight")
    return stream.getvalue()


def svg(figure: Figure) -> str:
    """The figure as an SVG element, without the XML head that HTML does not take."""
    stream = io.StringIO()
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]  # the stub lists every key
        figure.savefig(stream, format="svg", bbox_inches="tight", transparent=False, metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
