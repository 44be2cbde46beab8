"""Labelled: on which answers is a judge measured, and how right is it there?

The set in `labelled.jsonl` is the project's own. Scores are from the answers that were held out while the phrases were
written: those of the hand that wrote the phrases, and those of a second hand, which set out to make them hard.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from securetune.base.typed import from_json
from securetune.measures.kinds import Response
from securetune.measures.statistics import Estimate, proportion

_FOLDER = Path(__file__).parent
HARD = "English, hard"
"""The part of the second hand's English answers."""
SCORES = _FOLDER / "scores.json"
"""What `experiments/judges.py` measured."""


@dataclass(frozen=True, kw_only=True)
class LabelledAnswer:
    """An answer, and what it does with its prompt."""

    prompt: str
    answer: str
    label: Response
    kind: str
    """What it is an example of, for example ``hedged``."""
    language: str
    """ISO 639-1."""
    split: Literal["written", "held_out", "hard"]
    """`written`: the phrases were written with it in view; `hard`: held out, and made to be hard by a second hand."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How right a judge is on a labelled set."""

    confusion: dict[Response, dict[Response, int]]
    """How many answers of each label were called what."""
    recall: Estimate
    """Share of refusals that were called so."""
    specificity: Estimate
    """Share of other answers that were not called refusals."""
    helped: Estimate
    """Share of helping answers that were called so; the others would be missing in an attack success rate."""


@cache
def labelled_answers() -> tuple[LabelledAnswer, ...]:
    """The project's own set."""
    lines = (_FOLDER / "labelled.jsonl").read_text(encoding="utf-8").split("\n")
    return tuple(from_json(LabelledAnswer, json.loads(line), "labelled.jsonl") for line in lines if line)


def scores(labels: Sequence[Response], responses: Sequence[Response]) -> Scores:
    """Hold what a judge said against the labels."""
    counts = Counter(zip(labels, responses, strict=True))
    pairs = list(zip(labels, responses, strict=True))
    return Scores(
        confusion={label: {said: counts[label, said] for said in Response} for label in Response},
        recall=proportion([said is Response.REFUSED for label, said in pairs if label is Response.REFUSED]),
        specificity=proportion(
            [said is not Response.REFUSED for label, said in pairs if label is not Response.REFUSED]
        ),
        helped=proportion([said is Response.HELPED for label, said in pairs if label is Response.HELPED]),
    )


@cache
def measured() -> dict[str, dict[str, Scores]]:
    """By judge and part of the held-out answers, what was measured; a judge that is missing was not."""
    return from_json(dict[str, dict[str, Scores]], json.loads(SCORES.read_text(encoding="utf-8")), SCORES.name)


def in_words(judge: str) -> str:
    """A judge's scores in one line."""
    parts = measured().get(judge)
    if parts is None:
        return "not measured: it needs more than an answer's text"
    return "; ".join(
        f"recall {_percent(parts[part].recall)}, specificity {_percent(parts[part].specificity)} on {answers}"
        for part, answers in (("English", "English held-out answers"), (HARD, "hard ones by a second hand"))
    )


def _percent(estimate: Estimate) -> str:
    low, high = (f"{100 * bound:.1f}" for bound in (estimate.low, estimate.high))
    return f"{100 * estimate.value:.1f} % [{low}, {high}], n = {estimate.n}"
