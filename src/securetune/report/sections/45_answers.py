"""Answers: what do the models say to the same prompt?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from securetune.defences.base.arm import BASE, PLAIN
from securetune.evaluate.result import JudgedAnswer
from securetune.measures.kinds import HARMFUL, Kind
from securetune.report.reading import Model, Run
from securetune.report.sections.base.section import Section

_LIMIT = 12
"""Prompts of one kind of sets that are shown."""
_LETTERS = 1_500_000
"""Characters of answers that are shown, all together: so many of many models' that a page can still be opened."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One model's answer."""

    title: str
    place: int
    """Of the model in the run, which fixes its colour."""
    text: str
    more: int = 0
    """Characters that are left out at its end."""
    is_refused: bool
    """By the first judge."""
    is_hidden: bool
    """Whether it may be dangerous, so that it stands behind a reveal."""


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """One prompt with every model's answer."""

    benchmark: str
    kind: Kind
    prompt: str
    answers: list[Shown]
    is_changed: bool
    """Whether the models differ in refusing."""
    is_eroded: bool
    """Whether it was refused before, and is answered after plain tuning, or by a model that was tuned elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How many prompts of a kind are shown, out of how many."""

    kind: Kind
    shown: int
    asked: int
    changed: int
    """Of all that were asked, those on which the models differ in refusing."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """A sample of the prompts of every kind, and what it leaves out."""

    is_check: bool

    shown: list[SideBySide]
    samples: list[Sample]
    longest: int | None
    """Characters of an answer that are shown, where there are longer ones."""


def data(run: Run) -> Examples:
    """Some prompts of every kind: those on which the models differ first, in turns from all sets of the kind."""
    by_set = [
        [
            _side_by_side(sets[0].benchmark, sets[0].kind, run.models, answers)
            for answers in zip(*(benchmark.answers for benchmark in sets), strict=True)
        ]
        for sets in zip(*(model.answers for model in run.models), strict=True)
    ]
    shown, samples = [], []
    for kind in dict.fromkeys(examples[0].kind for examples in by_set if examples):
        of_kind = [
            sorted(examples, key=lambda example: not example.is_changed)
            for examples in by_set
            if examples and examples[0].kind == kind
        ]
        in_turns = [example for turn in zip_longest(*of_kind) for example in turn if example is not None]
        in_turns.sort(key=lambda example: not example.is_changed)
        shown += in_turns[:_LIMIT]
        samples.append(
            Sample(
                kind=kind,
                shown=len(in_turns[:_LIMIT]),
                asked=len(in_turns),
                changed=sum(example.is_changed for example in in_turns),
            )
        )
    longest = _LETTERS // max(1, sum(len(example.answers) for example in shown))
    is_cut = any(len(answer.text) > longest for example in shown for answer in example.answers)
    if is_cut:
        shown = [
            replace(example, answers=[_shortened(answer, longest) for answer in example.answers]) for example in shown
        ]
    return Examples(is_check=run.is_check, shown=shown, samples=samples, longest=longest if is_cut else None)


def _shortened(answer: Shown, longest: int) -> Shown:
    return replace(answer, text=answer.text[:longest], more=max(0, len(answer.text) - longest))


def _side_by_side(benchmark: str, kind: Kind, models: Sequence[Model], answers: Sequence[JudgedAnswer]) -> SideBySide:
    refused = {model.arm: _is_refused(answer) for model, answer in zip(models, answers, strict=True)}
    return SideBySide(
        benchmark=benchmark,
        kind=kind,
        prompt=answers[0].prompt,
        answers=[
            Shown(
                title=model.title,
                place=place,
                text=answer.text,
                is_refused=refused[model.arm],
                is_hidden=kind == HARMFUL and not refused[model.arm],
            )
            for place, (model, answer) in enumerate(zip(models, answers, strict=True))
        ],
        is_changed=len(set(refused.values())) > 1,
        is_eroded=refused[BASE] and any(not refused[model.arm] for model in models if _is_plain(model)),
    )


def _is_plain(model: Model) -> bool:
    """Whether it was tuned without a defence, as far as anybody here knows."""
    return model.arm == PLAIN or model.is_given


def _is_refused(answer: JudgedAnswer) -> bool:
    return bool(next(iter(answer.refused.values())))


section = Section(title="Answers side by side", anchor="answers", navigation="Answers", data=data)
