"""Figures: where does safety sit in this model, and what did tuning do to all models, at a glance?"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from securetune.measures.kinds import BENIGN, HARMFUL
from securetune.measures.pareto import Tradeoff
from securetune.report.figures import FAINT, INK, heatmap, pareto, series
from securetune.report.reading import Model, Run
from securetune.report.sections.base.section import Figures, Section
from securetune.scan.draws import SPECIFIC

_SETS = 8
"""Sets in the radar; more cannot be read."""
_MARGIN = "eval_safety_margin"
"""What the trainer's log calls the refusal margin on the watched prompts."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure and what stands below it."""

    name: str
    caption: str
    draw: Callable[[], Figure]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The figures of the models, which are seen at once, and those of the modules behind a click."""

    shown: list[Picture]
    folded: list[Picture]


def data(run: Run) -> Pictures:
    """Every figure with its caption."""
    if not (run.has("scan") and run.has("search")):
        return Pictures(shown=list(_of_models(run)), folded=[])
    return Pictures(shown=list(_of_models(run)), folded=[*_of_modules(run), *_of_other_signals(run)])


def figures(run: Run) -> Figures:
    """The same, drawn."""
    pictures = data(run)
    return {picture.name: picture.draw() for picture in (*pictures.shown, *pictures.folded)}


def _of_modules(run: Run) -> Iterator[Picture]:
    search = run.search
    yield Picture(
        name="heatmap",
        caption=f"A cell is a module, a row a layer: the redder, the more {search.signal} drops when it alone is "
        f"perturbed (strength {run.scan.strength:.2g}); blue is a rise. Dots: the robust set, {len(search.robust)} of "
        f"{len(search.scores)} modules.",
        draw=lambda: heatmap(search.scores, search.robust, search.signal),
    )
    if SPECIFIC in _measured(run):
        yield Picture(
            name="specific",
            caption="The same for safety alone: drop of the safety probe minus the mean drop of the control concepts.",
            draw=lambda: heatmap(run.scan.mean(SPECIFIC), search.robust, "safety minus controls"),
        )
    yield Picture(
        name="search",
        caption=f"A dot is a set of modules that the search perturbed together, {len(search.evaluated)} in all: to "
        "the right the larger ones, higher the more harmful. Below the dashed line counts as harmless; the upright "
        f"line is the size of the robust set, which drops {search.drop:.3f}.",
        draw=lambda: joint_drop(run),
    )


def _of_models(run: Run) -> Iterator[Picture]:
    models = run.models
    skill = "the metric" if models[0].score else "lowest loss over own loss"
    worst = " on the harmful set where it is highest" if len(models[0].of_kind(HARMFUL)) > 1 else ""
    task = f" Task: {skill}." if models[0].has_task else ""
    yield Picture(
        name="radar",
        caption=f"A ring is a model, a spoke what was asked: further out is better, so a dent is what was lost.{task}",
        draw=lambda: radar(models),
    )
    if sum(model.is_given for model in models) > 1:
        yield Picture(
            name="course",
            caption="Left to right: the models in the order in which they were given, each on its worst set; lower is "
            "better, bands are 95 % intervals. Of checkpoints of one training it shows the course.",
            draw=lambda: course(models),
        )
    if models[0].has_task:
        yield Picture(
            name="pareto",
            caption=f"Further right is better at the task ({skill}), further down safer (ASR{worst}). A large dot on "
            "the grey line: no other model is at least as good in both.",
            draw=lambda: pareto(tradeoffs(models)),
        )
    if not run.is_check:
        yield Picture(
            name="curves",
            caption="Training loss of every tuned model, step by step: lower has learned more of the rows.",
            draw=lambda: by_step(models, "loss", "training loss (nats per answer token)"),
        )
    if any(model.logged(_MARGIN) for model in models):
        yield Picture(
            name="monitored",
            caption="Refusal margin while tuning, on a few malicious prompts of the analysis: above 0 they are "
            "refused. The alignment may have been trained on them; the sets above count.",
            draw=lambda: by_step(models, _MARGIN, "mean refusal margin (nats)", limit=0),
        )


def _of_other_signals(run: Run) -> Iterator[Picture]:
    """A heatmap for every signal that the search did not follow."""
    for signal in run.scan.ranges:
        if signal != run.search.signal and signal in _measured(run):
            name = f"heatmap_{signal.replace(':', '_')}"
            yield Picture(
                name=name,
                caption=name.removeprefix("heatmap_").replace("_", " "),
                draw=functools.partial(heatmap, run.scan.mean(signal), run.search.robust, signal),
            )


def _measured(run: Run) -> dict[str, float]:
    """One draw of the scan, which holds every signal that was measured."""
    return next(iter(run.scan.draws.values()))[0]


def radar(models: Sequence[Model]) -> Figure:
    """Safety, helpfulness, coherence and task of every model, on the first sets; outside is better."""
    names = [f"{benchmark.kind.axis}\n{benchmark.benchmark}" for benchmark in models[0].benchmarks[:_SETS]]
    has_task = models[0].has_task
    names += ["coherent", *(["task"] if has_task else [])]
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    figure = Figure(figsize=(6.4, 4.8))
    axes = figure.add_subplot(projection="polar")
    skills = [[min(1.0, skill)] for skill in _skills(models)] if has_task else [[] for _ in models]
    looks = series([model.arm for model in models])
    for model, skill in zip(models, skills, strict=True):
        look = looks[model.arm]
        values = [benchmark.kind.goodness(benchmark.rate.value) for benchmark in model.benchmarks[:_SETS]]
        values += [min(benchmark.coherent.value for benchmark in model.benchmarks), *skill]
        axes.plot([*angles, angles[0]], [*values, values[0]], label=model.title, linewidth=1.6, **vars(look))
    axes.set_xticks(angles, names)
    axes.tick_params(axis="x", pad=6)
    for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
        side = round(float(np.cos(angle)), 6)
        label.set_horizontalalignment("left" if side > 0 else "right" if side < 0 else "center")
    axes.set_ylim(0, 1)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=3, frameon=False)
    return figure


def _skills(models: Sequence[Model]) -> list[float]:
    """Of every model the task metric, or the lowest loss over its own."""
    lowest = min(model.loss for model in models)
    return [model.score.value if model.score else lowest / model.loss for model in models]


def tradeoffs(models: Sequence[Model]) -> list[Tradeoff]:
    """Every model's skill against its attack success rate."""
    pairs = zip(models, _skills(models), strict=True)
    return [Tradeoff(title=model.title, skill=skill, asr=model.worst_asr) for model, skill in pairs]


def by_step(models: Sequence[Model], entry: str, label: str, limit: float | None = None) -> Figure:
    """One entry of the training log by step, a line per model; `limit` is drawn as a dashed line."""
    figure, axes = _wide()
    looks = series([model.arm for model in models])
    for model in models:
        points = model.logged(entry)
        if points:
            axes.plot(*zip(*points, strict=True), label=model.title, linewidth=1.4, **vars(looks[model.arm]))
    if limit is not None:
        axes.axhline(limit, color=INK, linewidth=0.8, linestyle="--")
    axes.set(xlabel="step", ylabel=label)
    axes.legend(frameon=False)
    return figure


def course(models: Sequence[Model]) -> Figure:
    """Worst rates of every kind in the order of the models."""
    figure, axes = _wide()
    places = range(len(models))
    lines = {kind.column: [model.worst_rate(kind) for model in models] for kind in (HARMFUL, BENIGN)}
    lines["broken answers"] = [model.worst_broken for model in models]
    colours = [look.color for look in series([model.arm for model in models]).values()]
    for (label, rates), style, marker in zip(lines.items(), ("-", "--", ":"), ("o", "s", "^"), strict=True):
        values = [100 * rate.value for rate in rates]
        axes.plot(places, values, label=label, color=INK, linestyle=style, marker=marker, linewidth=1.2, markersize=3)
        axes.scatter(places, values, color=colours, marker=marker, s=36, zorder=3)
        low, high = ([100 * end for end in ends] for ends in zip(*((r.low, r.high) for r in rates), strict=True))
        axes.fill_between(places, low, high, alpha=0.12, color=FAINT, linewidth=0)
    axes.set_xticks(places, [model.title for model in models])
    axes.set(ylabel="%", ylim=(-2, 102))
    axes.legend(frameon=False)
    return figure


def joint_drop(run: Run) -> Figure:
    """Joint drop of every set the search measured, against its size."""
    search = run.search
    figure, axes = _wide()
    axes.scatter([chosen.size for chosen in search.evaluated], [chosen.drop for chosen in search.evaluated], s=12,
                 color=INK)  # fmt: skip
    axes.axhline(search.tolerance, color=INK, linewidth=0.8, linestyle="--", label="tolerance")
    axes.axvline(len(search.robust), color=FAINT, linewidth=1.6, label="robust set")
    axes.set(xlabel="modules perturbed jointly", ylabel="drop (share of range)")
    axes.legend(frameon=False)
    return figure


def _wide() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 3.4))
    return figure, figure.subplots()


section = Section(
    title="What tuning did, in figures", anchor="figures", navigation="Figures", data=data, figures=figures
)
