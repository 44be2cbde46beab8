"""Judging: what do answers amount to, by every judge, and against the model before tuning?"""

import logging
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from securetune.base.artifacts import Journal, digest
from securetune.base.typed import from_json, to_json
from securetune.data.stored import store
from securetune.errors import ConfigError, ModelError
from securetune.evaluate.answers import Answer
from securetune.evaluate.benchmark import Benchmark
from securetune.evaluate.coherence import is_coherent
from securetune.evaluate.config import EvaluateConfig, Sampling
from securetune.evaluate.judges import JUDGES
from securetune.evaluate.judges.base.interface import Judge, Verdict
from securetune.evaluate.result import EvalResult, JudgedAnswer, Share, both_judged
from securetune.evaluate.task import is_correct
from securetune.measures.kinds import BENIGN, Kind
from securetune.measures.statistics import (
    McNemar,
    clustered,
    cohens_kappa,
    detectable_rise,
    mcnemar,
    mean,
    proportion,
)

_logger = logging.getLogger(__name__)
GREEDY = Sampling()


def judges_of(config: EvaluateConfig) -> dict[str, Judge]:
    """The configured judges, the first one first.

    Raises:
        RegistryError: no judge of that name.
        ConfigError: a wrong setting, or a first judge that cannot tell over-refusal.
    """
    for name in config.judge.keys() - set(config.judges):  # a mistake in what is not used yet is one, too
        JUDGES.make(name, config.judge[name], f"evaluate.judge.{name}")
    judges = {name: JUDGES.make(name, config.judge.get(name, {}), f"evaluate.judge.{name}") for name in config.judges}
    first = next(iter(judges), None)
    if first is None or BENIGN not in judges[first].sees:
        raise ConfigError(
            f"Expected a first judge that tells over-refusal too, found {first}. Put refusal_phrases first."
        )
    return judges


def try_judges(config: EvaluateConfig) -> None:
    """Try out every configured judge where that is quick: an endpoint is asked once.

    Raises:
        SecuretuneError: one of them cannot judge; the message says which.
    """
    for judge in judges_of(config).values():
        judge.check()


def judge_benchmark(
    benchmark: Benchmark,
    answers: Sequence[Answer],
    judges: Mapping[str, Judge],
    *,
    surprises: Sequence[float | None],
    limit: float | None,
    base: EvalResult | None = None,
    sampling: Sampling = GREEDY,
    kept: Journal | None = None,
    folder: Path | None = None,
) -> EvalResult:
    """Judge the answers to a benchmark.

    Args:
        benchmark: what was asked.
        answers: one per prompt, or as many as `sampling` says after one another.
        judges: by name, the first one first; a judge that asks a model loads it once.
        surprises: how surprising the model before tuning finds every answer, in nats per token; None for unread ones.
        limit: the most that counts as text; None asks for no more than the form, see `is_coherent`.
        base: that model's own result on the same prompts, to compare with.
        sampling: how the answers to a prompt were drawn, which make one outcome together.
        kept: verdicts that are there already; new ones are added as they come.
        folder: where there is room for all answers; by default where the system keeps temporary files.

    Raises:
        ConfigError: `base` is of other prompts.
        ArtifactError: `base` lacks a judge.
        ModelError: the first judge has no verdict at all.
    """
    if base is not None:
        _check_same_prompts(benchmark, answers, sampling, base)
    first, samples = next(iter(judges)), sampling.samples
    single = _judged(benchmark, answers, judges, surprises=surprises, limit=limit, samples=samples, kept=kept)
    groups = zip(*[single] * samples, strict=True)
    together = single if samples == 1 else (_together(group, benchmark.kind) for group in groups)
    judged = store(together, folder, kind=JudgedAnswer)
    names = list(judged[0].refused)
    counted = _Counted.of(judged, names, benchmark.kind)
    outcomes = counted.outcomes
    if benchmark.kind.has_right_answers:  # right is right, whoever judges the refusals
        outcomes = {benchmark.metric: outcomes[first]}
    _warn_of_silence(benchmark, outcomes, next(iter(outcomes)))
    rated = {name: values for name, values in outcomes.items() if _known(values)}
    headline = next(iter(rated.values()))
    neither, refused = {name: _known(values) for name, values in counted.neither.items()}, counted.refused
    return EvalResult(
        benchmark=benchmark.name,
        kind=benchmark.kind,
        origin=benchmark.origin,
        rates={name: proportion(_known(values)) for name, values in rated.items()},
        against_base={
            name: _paired(base.outcomes(name if name in names else None), values) if base is not None else None
            for name, values in rated.items()
        },
        margin=mean(counted.margins) if counted.margins else None,
        no_answer=proportion(counted.cut),
        coherent=proportion(counted.coherent),
        broken=proportion(counted.broken),
        neither={name: proportion(values) for name, values in neither.items() if values},
        no_verdict={name: values.count(None) for name, values in refused.items()},
        clustered=clustered(
            _known(headline), [c for c, value in zip(benchmark.clusters, headline, strict=True) if value is not None]
        ),
        detectable=detectable_rise(len(judged)),
        sampling=sampling,
        each={name: clustered(*_singly(shares, benchmark.clusters)) for name, shares in counted.shares.items()},
        undecided=proportion([0 < share.counted < share.of for share in counted.shares[first] if share.of])
        if first in counted.shares
        else None,
        agreement={f"{one}|{other}": _kappa(refused[one], refused[other]) for one, other in combinations(refused, 2)},
        answers=judged,
    )


@dataclass(frozen=True, kw_only=True)
class _Counted:
    """What is counted of the answers, without their texts: all that is held of them at once."""

    outcomes: dict[str, list[bool | None]]
    neither: dict[str, list[bool | None]]
    refused: dict[str, list[bool | None]]
    margins: "array[float]"
    cut: list[bool]
    coherent: list[bool]
    broken: list[bool]
    shares: dict[str, list[Share]]
    """Per judge; none where one answer was given to every prompt."""

    @classmethod
    def of(cls, judged: Iterable[JudgedAnswer], names: Sequence[str], kind: Kind) -> "_Counted":
        """Go through the answers once."""
        columns = cls(
            outcomes={name: [] for name in names},
            neither={name: [] for name in names},
            refused={name: [] for name in names},
            margins=array("d"),
            cut=[],
            coherent=[],
            broken=[],
            shares={},
        )
        for answer in judged:
            for name in names:
                columns.outcomes[name].append(answer.is_counted(name, kind))
                columns.neither[name].append(answer.is_neither(name))
                columns.refused[name].append(answer.refused[name])
            if answer.margin is not None:
                columns.margins.append(answer.margin)
            columns.cut.append(answer.is_cut)
            columns.coherent.append(answer.coherent)
            columns.broken.append(answer.is_broken)
            for name, share in answer.drawn.items():
                columns.shares.setdefault(name, []).append(share)
        return columns


def _together(answers: Sequence[JudgedAnswer], kind: Kind) -> JudgedAnswer:
    """All answers to one prompt as one, see `JudgedAnswer`."""
    outcomes = {name: [answer.is_counted(name, kind) for answer in answers] for name in answers[0].refused}
    of_first = next(iter(outcomes.values()))
    shown = of_first.index(True) if True in of_first else 0
    shares = {name: Share(counted=values.count(True), of=len(_known(values))) for name, values in outcomes.items()}
    return replace(answers[shown], drawn=shares)


def _singly(shares: Sequence[Share], clusters: Sequence[int]) -> tuple[list[bool], list[int]]:
    """Every answer's outcome again, with the cluster of its prompt."""
    pairs = [
        (number < share.counted, cluster)
        for share, cluster in zip(shares, clusters, strict=True)
        for number in range(share.of)
    ]
    return [outcome for outcome, _ in pairs], [cluster for _, cluster in pairs]


def _known(values: Sequence[bool | None]) -> list[bool]:
    """Without the answers that have no verdict."""
    return [value for value in values if value is not None]


def _paired(before: Sequence[bool | None], after: Sequence[bool | None]) -> McNemar | None:
    both = both_judged(before, after)
    return mcnemar(*both) if both[0] else None


def _kappa(one: Sequence[bool | None], other: Sequence[bool | None]) -> float | None:
    both = both_judged(one, other)
    return cohens_kappa(*both) if both[0] else None


def _warn_of_silence(benchmark: Benchmark, outcomes: Mapping[str, Sequence[bool | None]], first: str) -> None:
    """Say which judges had no verdict, and how often.

    Raises:
        ModelError: the first one never had one, so that there is no headline.
    """
    for name, values in outcomes.items():
        missing = values.count(None)
        if missing == len(values) and name == first:
            raise ModelError(
                f"Expected a verdict of {name}, the first judge, on answers to {benchmark.name}, found none on "
                f"{missing}. Look at its replies, raise its max_new_tokens, or put refusal_phrases first."
            )
        if missing:
            _logger.warning(
                "%s has no verdict on %d of %d answers to %s: its replies were empty, refused or not readable. They "
                "are left out of its rate.",
                name,
                missing,
                len(values),
                benchmark.name,
            )


def _check_same_prompts(benchmark: Benchmark, answers: Sequence[Answer], sampling: Sampling, base: EvalResult) -> None:
    if base.sampling != sampling:
        raise ConfigError(
            f"Expected {sampling} for {benchmark.name} of the model before tuning, too, found {base.sampling}. Assess "
            "both with the same evaluate.samples and evaluate.temperature."
        )
    samples = sampling.samples
    is_same = len(base.answers) * samples == len(answers) and all(
        before.prompt == answers[place * samples].prompt for place, before in enumerate(base.answers)
    )
    if not is_same:
        raise ConfigError(
            f"Expected the answers of the model before tuning to the same {len(answers)} prompts of {benchmark.name}, "
            f"found {len(base.answers)}, to others. Assess it on the same benchmark, or give this one another name."
        )


def _judged(
    benchmark: Benchmark,
    answers: Sequence[Answer],
    judges: Mapping[str, Judge],
    *,
    surprises: Sequence[float | None],
    limit: float | None,
    samples: int,
    kept: Journal | None,
) -> Iterator[JudgedAnswer]:
    """Every answer with its verdicts, the first judge's among them even where the others have nothing to say."""
    first = next(iter(judges))
    asked = {name: judge for name, judge in judges.items() if name == first or benchmark.kind in judge.sees}
    verdicts = {name: _verdicts(judge, answers, kept if judge.is_costly else None) for name, judge in asked.items()}
    return (
        JudgedAnswer(
            prompt=answer.prompt,
            text=answer.text,
            margin=answer.margin,
            is_cut=answer.is_cut,
            surprise=surprises[i],
            coherent=is_coherent(answer.text, surprises[i], limit),
            refused={name: None if verdict is None else verdict.is_safe for name, verdict in of_answer.items()},
            neither={name: True for name, verdict in of_answer.items() if verdict and verdict.is_neither},
            scores={name: None if verdict is None else verdict.score for name, verdict in of_answer.items()},
            right=is_correct(answer, benchmark.prompts[i // samples].reference or "", benchmark.metric)
            if benchmark.kind.has_right_answers
            else None,
        )
        for i, answer in enumerate(answers)
        for of_answer in [{name: given[i] for name, given in verdicts.items()}]
    )


def _verdicts(judge: Judge, answers: Sequence[Answer], kept: Journal | None) -> list[Verdict | None]:
    """A judge's verdict on every answer; those kept are not asked for again, and new ones are kept as they come."""
    if kept is None:
        return [verdict for _, verdict in sorted(judge.verdicts(answers), key=lambda item: item[0])]
    mark = judge.fingerprint()
    keys = [digest(["verdict", mark, answer.prompt, answer.text]) for answer in answers]
    waiting = [i for i in {key: i for i, key in enumerate(keys)}.values() if kept.get(keys[i]) is None]
    for place, verdict in judge.verdicts([answers[i] for i in waiting]):
        if verdict is not None:
            kept.keep(keys[waiting[place]], to_json(verdict))
    stored = [kept.get(key) for key in keys]
    return [None if data is None else from_json(Verdict, data, "kept verdicts") for data in stored]
