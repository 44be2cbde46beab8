"""Summary: what happened, in one screen: a sentence, a card per question, and what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from securetune.defences.base.arm import BASE, PLAIN
from securetune.measures.kinds import BENIGN, HARMFUL, SKILL, Kind
from securetune.measures.statistics import Estimate
from securetune.report.change import Change, changes, of_kind, worst
from securetune.report.reading import Model, Run
from securetune.report.sections.base.section import Section
from securetune.report.verdict import advice, protagonists, verdict

QUESTIONS: tuple[tuple[Kind | None, str], ...] = (
    (HARMFUL, "Harmful requests answered"),
    (BENIGN, "Harmless requests refused"),
    (SKILL, "Questions answered right"),
    (None, "Broken answers"),
)
"""What is asked first of every run, and on which kind of sets; None on all of them."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model's number on a card."""

    model: str
    value: str
    reach: str | None
    """Its interval and n, where it has one."""
    where: str | None = None
    """On which set that was, and on how many sets it got worse by ten points or more."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One question with the answers of the models that matter most."""

    title: str
    on: str | None
    """Which set is shown, where there are several."""
    entries: list[Entry]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The first screen."""

    verdict: str
    cards: list[Card]
    advice: str
    is_check: bool


def data(run: Run) -> Summary:
    """The verdict, a card for every kind of set that there is, and the task's."""
    models = protagonists(run.models)
    cards = [_card(run, models, kind, title) for kind, title in QUESTIONS if kind is None or models[0].of_kind(kind)]
    cards += [_task(models)] if models[0].has_task else []
    return Summary(verdict=verdict(run.models), cards=cards, advice=advice(run.models), is_check=run.is_check)


def _card(run: Run, models: Sequence[Model], kind: Kind | None, title: str) -> Card:
    """Every model on the set where it got worst; the model before tuning on that of the first tuned one."""
    told = [of_kind(changes(run.models, model), kind) for model in models]
    most = [worst(group) for group in told]
    most[0] = next(change for change in told[0] if change.on == most[1].on)
    are_many = len(told[0]) > 1
    entries = [
        replace(_rate(model, change.after), where=_where(group, change, model) if are_many else None)
        for model, group, change in zip(models, told, most, strict=True)
    ]
    on = f"each on its worst of {len(told[0])} sets" if are_many else most[0].on
    return Card(title=title, on=on, entries=entries)


def _where(group: Sequence[Change], change: Change, model: Model) -> str:
    if model.arm == BASE:
        return change.on
    number = sum(other.is_harm for other in group)
    return f"{change.on}; up by ten points or more on {number} of {len(group)}"


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
