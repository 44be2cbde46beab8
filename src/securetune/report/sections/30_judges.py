"""Judges: what does each judge say of every model on every set, and how sure can one be?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from securetune.evaluate.result import EvalResult
from securetune.measures.statistics import holm
from securetune.report.reading import Model, Run
from securetune.report.sections.base.section import Section, Table
from securetune.report.tables import percent


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Every judge, and what so many prompts can show."""

    models: int
    sets: int
    verdicts: Table
    surprise_limit: float | None
    """None where no model has read the answers."""
    power: Table
    single: Table | None
    """Of single answers, where several were drawn to a prompt."""


def data(run: Run) -> Judged:
    """Every rate with its paired test; then power, clusters and agreement."""
    before = run.models[0]
    return Judged(
        models=len(run.models),
        sets=len(before.benchmarks),
        verdicts=Table(label="Every judge", head=_HEAD, rows=[row for model in run.models for row in _verdicts(model)]),
        surprise_limit=before.evaluation.surprise_limit,
        power=_power(run),
        single=_single(run),
    )


_HEAD = (
    "model", "set", "judge", "rate", "gained", "lost", "McNemar p", "p, all sets (Holm)", "coherent", "broken",
    "no answer", "refusal margin, nats",
)  # fmt: skip


def _verdicts(model: Model) -> Iterable[list[object]]:
    adjusted = _adjusted(model)
    for benchmark in model.benchmarks:
        margin = benchmark.margin
        for judge, rate in benchmark.rates.items():
            test = benchmark.against_base[judge]
            numbers: list[object] = ["–"] * 4
            if test is not None:
                numbers = [test.gained, test.lost, f"{test.p:.2g}", f"{adjusted[judge, benchmark.benchmark]:.2g}"]
            yield [
                model.title,
                benchmark.benchmark,
                judge,
                percent(rate),
                *numbers,
                percent(benchmark.coherent),
                percent(benchmark.broken),
                "–" if benchmark.no_answer is None else percent(benchmark.no_answer),
                _no_margin(model) if margin is None else f"{margin.value:.2f} [{margin.low:.2f}, {margin.high:.2f}]",
            ]


def _no_margin(model: Model) -> str:
    """What stands in place of a margin: where no model could be looked into, that it was not measured."""
    return "not measured" if model.evaluation.surprise_limit is None else "–"


def _adjusted(model: Model) -> dict[tuple[str, str], float]:
    """McNemar's p by judge and set, adjusted for the number of sets that the judge saw (Holm)."""
    by_judge: dict[str, dict[str, float]] = {}
    for benchmark in model.benchmarks:
        for judge, test in benchmark.against_base.items():
            if test is not None:
                by_judge.setdefault(judge, {})[benchmark.benchmark] = test.p
    return {
        (judge, name): p
        for judge, sets in by_judge.items()
        for name, p in zip(sets, holm(list(sets.values())), strict=True)
    }


def _power(run: Run) -> Table:
    reaches = (f"{model.title}: interval over clusters" for model in run.models)
    by_set = zip(*(model.benchmarks for model in run.models), strict=True)
    return Table(
        label="Power and agreement",
        head=["set", "n", "clusters", "smallest rise it shows", *reaches, "judges agree (kappa), worst model"],
        rows=[_power_on(on_set) for on_set in by_set],
    )


def _power_on(on_set: Sequence[EvalResult]) -> list[object]:
    """What one set can show; `on_set` holds every model on it."""
    first = on_set[0]
    pairs = [f"{pair.replace('|', ' and ')}: {_lowest_kappa(on_set, pair)}" for pair in first.agreement]
    return [
        first.benchmark,
        first.coherent.n,
        first.clustered.n,
        f"{100 * first.detectable:.1f} points",
        *(percent(benchmark.clustered) for benchmark in on_set),
        ", ".join(pairs) or "–",
    ]


def _single(run: Run) -> Table | None:
    rows: list[list[object]] = [
        [
            model.title,
            benchmark.benchmark,
            judge,
            benchmark.sampling.samples,
            percent(benchmark.rates.get(judge)),
            percent(each),
            percent(benchmark.undecided) if place == 0 else "–",
        ]
        for model in run.models
        for benchmark in model.benchmarks
        for place, (judge, each) in enumerate(benchmark.each.items())
    ]
    head = ["model", "set", "judge", "answers", "of prompts, one or more", "of answers", "prompts answered both ways"]
    return Table(label="Single answers", head=head, rows=rows) if rows else None


def _lowest_kappa(on_set: Sequence[EvalResult], pair: str) -> str:
    """Lowest kappa of two judges over all models."""
    known = [kappa for benchmark in on_set if (kappa := benchmark.agreement.get(pair)) is not None]
    return f"{min(known):.2f}" if known else "all alike"


section = Section(
    title="Every judge and paired test", anchor="judges", navigation="Judges and tests", is_folded=True, data=data
)
