"""Result: what an evaluation found, each number with n and interval; no torch.

Answers may be more than memory holds: their file is one JSON text in which each has a line of its own, so that it is
written, and read again, one answer at a time.
"""

import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from securetune.base.files import write_parts_atomic
from securetune.base.typed import from_json, to_json
from securetune.data.stored import StoredRows
from securetune.errors import ArtifactError
from securetune.evaluate.config import Metric, Sampling
from securetune.measures.kinds import Kind, KindField, Outcome, Response
from securetune.measures.statistics import Estimate, McNemar

_OPENING = '{"benchmarks": [\n'
"""How a file begins in which every answer has a line of its own."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many of the answers to one prompt are counted."""

    counted: int
    of: int
    """Answers on which the judge has a verdict."""


@dataclass(frozen=True, kw_only=True)
class JudgedAnswer:
    """One prompt, the model's answer, and what was made of it.

    Of several answers to a prompt it is the first that the first judge counts; where none is, the first of all.
    """

    prompt: str
    text: str
    margin: float | None
    """Refusal margin at the first answer token, in nats; None where it means nothing."""
    is_cut: bool = False
    """Whether its reasoning never ended: no answer, neither success nor refusal."""
    surprise: float | None
    """Cross-entropy per token under the model before tuning, in nats; None where nobody has read it."""
    coherent: bool
    """Whether it is text, see `coherence`."""
    refused: dict[str, bool | None]
    """Per judge: refused, or harmless; None where it has no verdict."""
    neither: dict[str, bool] = field(default_factory=dict)
    """Per judge that tells it: neither refused nor helped."""
    scores: dict[str, float | None]
    """Per judge: how harmful, on its own scale."""
    right: bool | None
    """Whether it is the right answer; None where there is none."""
    drawn: dict[str, Share] = field(default_factory=dict)
    """Per judge, where several answers were drawn: how many of them are counted."""

    def response(self, judge: str) -> Response | None:
        """What it does, by one judge; None where that one has no verdict."""
        if self.refused[judge] is None:
            return None
        if self.neither.get(judge, False):
            return Response.NEITHER
        return Response.REFUSED if self.refused[judge] else Response.HELPED

    def is_counted(self, judge: str, kind: Kind) -> bool | None:
        """Whether a set of this kind counts it, by one judge; None where that one has no verdict and one is needed.

        Of several answers to a prompt one that is counted is enough.
        """
        if judge in self.drawn:
            share = self.drawn[judge]
            return share.counted > 0 if share.of else None
        response = self.response(judge)
        if response is None and not kind.has_right_answers:
            return None
        outcome = Outcome(response=response or Response.NEITHER, is_coherent=self.coherent, is_right=self.right)
        return kind.counts(outcome)

    @property
    def is_broken(self) -> bool:
        """Whether it is neither text nor, to the first judge, a refusal."""
        return not self.coherent and not next(iter(self.refused.values()))

    def is_neither(self, judge: str) -> bool | None:
        """Whether it neither refused nor helped: the judge says so, or it is no refusal and no text."""
        response = self.response(judge)
        if response is None:
            return None
        return response is Response.NEITHER or (response is Response.HELPED and not self.coherent)


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """One model on one benchmark."""

    benchmark: str
    kind: KindField
    origin: str
    rates: dict[str, Estimate]
    """Per judge that had a verdict: attack success rate (helped, and coherent), over-refusal, or the share right."""
    against_base: dict[str, McNemar | None]
    """Per judge: paired test against the model before tuning; None for that model itself."""
    margin: Estimate | None
    """Mean refusal margin of the answers that have one, in nats; None where none has."""
    no_answer: Estimate | None = None
    """Share of answers whose reasoning was cut by the limit on their length; None where nobody counted them."""
    coherent: Estimate
    """Share of answers that are text, see `coherence`."""
    broken: Estimate
    """Share of answers that are neither text nor, to the first judge, a refusal."""
    neither: dict[str, Estimate] = field(default_factory=dict)
    """Per judge: share of answers that neither refused nor helped, what is no text among them."""
    no_verdict: dict[str, int] = field(default_factory=dict)
    """Per judge that was asked: answers on which it has none; they are left out of its rates."""
    clustered: Estimate
    """The first rate, with an interval over clusters of near-duplicate prompts; n counts clusters."""
    detectable: float
    """Smallest rise that this many prompts show with 80 % power, see `detectable_rise`."""
    sampling: Sampling = field(default_factory=Sampling)
    """How its answers were drawn; a prompt is counted where one of several answers is."""
    each: dict[str, Estimate] = field(default_factory=dict)
    """Per judge, where several were drawn: the share of single answers that are counted, its interval over clusters."""
    undecided: Estimate | None = None
    """Share of prompts some of whose answers are counted and some not, by the first judge; None for single answers."""
    agreement: dict[str, float | None]
    """Cohen's kappa of every two judges, by their names joined with ``|``."""
    answers: Sequence[JudgedAnswer] = field(default_factory=list)
    """Every answer, each read from a file when it is asked for; empty in the summary that tables are made from."""

    @property
    def column(self) -> str:
        """What a column with its rate is called: ``ASR``, or ``ASR of 5`` where each prompt had five chances."""
        several = self.sampling.samples > 1
        return f"{self.kind.column} of {self.sampling.samples}" if several else self.kind.column

    @property
    def rate(self) -> Estimate:
        """The headline: the first judge's rate."""
        return next(iter(self.rates.values()))

    def outcomes(self, judge: str | None = None) -> list[bool | None]:
        """Whether each answer is counted, by the first judge if none is named; of a set of skill, the right answers.

        None stands where the judge has no verdict.

        Raises:
            ArtifactError: the judge has not judged these answers.
        """
        judges = list(self.answers[0].refused)
        judge = judge if judge is not None and not self.kind.has_right_answers else judges[0]
        if judge not in judges:
            raise ArtifactError(
                f"Expected a verdict of {judge} on {self.benchmark}, found those of {judges}. Choose one of them."
            )
        return [answer.is_counted(judge, self.kind) for answer in self.answers]

    def broken_outcomes(self) -> list[bool]:
        """Whether each answer is broken, see `JudgedAnswer.is_broken`."""
        return [answer.is_broken for answer in self.answers]


def both_judged(first: Sequence[bool | None], second: Sequence[bool | None]) -> tuple[list[bool], list[bool]]:
    """Two models' outcomes on the prompts where both have a verdict."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    return [a for a, _ in pairs], [b for _, b in pairs]


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """One model on every benchmark."""

    results: list[EvalResult]
    surprise_limit: float | None
    """The most surprise, in nats per token, that counts as text; told by the model before tuning, for all models.

    None where no model has read the answers."""


@dataclass(frozen=True, kw_only=True)
class TaskAnswer:
    """One answer to a held-out row of the task."""

    prompt: str
    text: str
    reference: str
    correct: bool


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """One model on the held-out rows of the tuning task."""

    loss: float
    """Cross-entropy per answer token, in nats."""
    metric: Metric | None
    score: Estimate | None
    """Share of correct answers."""
    no_answer: Estimate | None = None
    """Share of answers whose reasoning was cut by the limit on their length; None where nobody counted them."""
    answers: list[TaskAnswer] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One model on everything; what the stage `evaluate` leaves, without the answers."""

    benchmarks: list[EvalResult]
    surprise_limit: float | None
    """The most surprise, in nats per token, that counts as text; None where no model has read the answers."""
    system: str | None
    """System prompt that the model was asked under, where a defence wants one."""
    task: TaskResult | None
    """None where there was no task to look at."""
    notes: list[str] = field(default_factory=list)
    """What to know of how it was asked, in sentences: what could not be measured, or how it was loaded."""


def store_results(path: Path, evaluation: Evaluation) -> None:
    """Write everything, answers and all, into the file that stands beside the artifact of an evaluation."""
    write_parts_atomic(path, _parts(evaluation))


def _parts(evaluation: Evaluation) -> Iterator[str]:
    yield _OPENING
    for place, result in enumerate(evaluation.benchmarks, start=1):
        yield _text(replace(result, answers=[])).removesuffix("]}") + "\n"
        for number, answer in enumerate(result.answers, start=1):
            yield _text(answer) + (",\n" if number < len(result.answers) else "\n")
        yield "]},\n" if place < len(evaluation.benchmarks) else "]}\n"
    yield f'], "task": {_text(evaluation.task)}}}\n'


def _text(value: object) -> str:
    return json.dumps(to_json(value), ensure_ascii=False)


def stored_results(path: Path) -> list[EvalResult]:
    """The results of every benchmark from that file; their answers are read from it as they are asked for.

    A file in another layout is read whole: somebody else, or an older version, has written it.

    Raises:
        ArtifactError: another form.
    """
    try:
        file = path.open("rb")  # open for as long as its answers are read
        if file.readline() != _OPENING.encode():
            return from_json(_Whole, json.loads(path.read_text(encoding="utf-8")), str(path)).benchmarks
        results = []
        while (head := file.readline()).startswith(b"{"):
            starts = array("q", [file.tell()])
            while (line := file.readline()).startswith(b"{"):
                starts.append(starts[-1] + len(line))
            summary = from_json(EvalResult, json.loads(head + b"]}"), str(path))
            results.append(replace(summary, answers=StoredRows(file, starts, JudgedAnswer)))
        if not head.endswith(b"}\n"):
            raise ValueError(f"no end behind {len(results)} sets")
    except ValueError as error:
        raise ArtifactError(f"Expected answers in {path}, found {error}. Delete the file to redo it.") from error
    return results


@dataclass(frozen=True, kw_only=True)
class _Whole:
    """Such a file, as far as it is read."""

    benchmarks: list[EvalResult]
