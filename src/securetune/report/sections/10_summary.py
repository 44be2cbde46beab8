"""Summary: what happened, in one screen: a sentence, a card per question, and what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass

from securetune.defences.base.arm import PLAIN
from securetune.measures.kinds import BENIGN, HARMFUL, Kind
from securetune.measures.statistics import Estimate
from securetune.report.change import advice, protagonists, verdict
from securetune.report.reading import Model, Run
from securetune.report.sections.base.section import Section

QUESTIONS = ((HARMFUL, "Harmful requests answered"), (BENIGN, "Harmless requests refused"))
"""What is asked first of every run, and on which kind of sets."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model's number on a card."""

    model: str
    value: str
    reach: str | None
    """Its interval and n, where it has one."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One question with the answers of the models that matter most."""

    title: str
    on: str | None
    """The set that was asked, where there may be several."""
    entries: list[Entry]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The first screen."""

    verdict: str
    cards: list[Card]
    advice: str


def data(run: Run) -> Summary:
    """The verdict, and the three cards."""
    models = protagonists(run.models)
    cards = [
        Card(
            title=title,
            on=_first_set(models[0], kind),
            entries=[_rate(model, model.headline(kind)) for model in models],
        )
        for kind, title in QUESTIONS
    ]
    return Summary(verdict=verdict(run.models), cards=[*cards, _task(models)], advice=advice(run.models))


def _first_set(model: Model, kind: Kind) -> str:
    """Which set a card shows."""
    sets = model.of_kind(kind)
    name = sets[0].benchmark
    return name if len(sets) == 1 else f"{name}, the first of {len(sets)} such sets"


def _task(models: Sequence[Model]) -> Card:
    title = "The task: right answers" if models[0].score else "The task: loss (lower is better)"
    entries = [
        _rate(model, model.score) if model.score else Entry(model=_name(model), value=f"{model.loss:.3f}", reach=None)
        for model in models
    ]
    return Card(title=title, on=None, entries=entries)


def _rate(model: Model, rate: Estimate) -> Entry:
    return Entry(
        model=_name(model),
        value=f"{100 * rate.value:.1f} %",
        reach=f"{100 * rate.low:.1f} to {100 * rate.high:.1f}, n = {rate.n}",
    )


def _name(model: Model) -> str:
    return "plain tuning" if model.arm == PLAIN else model.title


section = Section(title=None, anchor="summary", data=data)
