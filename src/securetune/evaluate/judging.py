"""Judging: what do answers amount to, by every judge, and against the model before tuning?"""

import logging
from collections.abc import Mapping, Sequence
from itertools import combinations

from securetune.errors import ConfigError
from securetune.evaluate.answers import Answer
from securetune.evaluate.benchmark import Benchmark
from securetune.evaluate.coherence import is_coherent
from securetune.evaluate.config import EvaluateConfig
from securetune.evaluate.judges import JUDGES
from securetune.evaluate.judges.base.interface import Judge, Verdict
from securetune.evaluate.result import EvalResult, JudgedAnswer
from securetune.evaluate.task import is_correct
from securetune.measures.kinds import BENIGN
from securetune.measures.statistics import clustered, cohens_kappa, detectable_rise, mcnemar, mean, proportion

_log = logging.getLogger(__name__)


def judges_of(config: EvaluateConfig) -> dict[str, Judge]:
    """The configured judges, the first one first.

    Raises:
        RegistryError: no judge of that name.
        ConfigError: a wrong setting, or a first judge that cannot tell over-refusal.
    """
    for name in config.judge:
        JUDGES.get(name)
    judges = {name: JUDGES.make(name, config.judge.get(name, {}), f"evaluate.judge.{name}") for name in config.judges}
    first = next(iter(judges), None)
    if first is None or BENIGN not in judges[first].sees:
        raise ConfigError(
            f"Expected a first judge that tells over-refusal too, found {first}. Put refusal_phrases first."
        )
    return judges


def judge_benchmark(
    benchmark: Benchmark,
    answers: Sequence[Answer],
    judges: Mapping[str, Judge],
    *,
    surprises: Sequence[float],
    limit: float,
    base: EvalResult | None = None,
) -> EvalResult:
    """Judge the answers to a benchmark.

    Args:
        benchmark: what was asked.
        answers: one per prompt.
        judges: by name, the first one first; a judge that asks a model loads it once.
        surprises: how surprising the model before tuning finds every answer, in nats per token.
        limit: the most that counts as text.
        base: that model's own result on the same prompts, to compare with.

    Raises:
        ConfigError: `base` is of other prompts.
        ArtifactError: `base` lacks a judge.
    """
    if base is not None:
        _check_same_prompts(benchmark, answers, base)
    first = next(iter(judges))
    judged = _judged(benchmark, answers, judges, surprises=surprises, limit=limit)
    names = list(judged[0].refused)
    outcomes = {name: benchmark.kind.outcomes([answer.outcome(name) for answer in judged]) for name in names}
    if benchmark.kind.has_right_answers:  # right is right, whoever judges the refusals
        outcomes = {benchmark.metric: outcomes[first]}
    safe = {name: [answer.refused[name] for answer in judged] for name in names}
    return EvalResult(
        benchmark=benchmark.name,
        kind=benchmark.kind,
        origin=benchmark.origin,
        rates={name: proportion(values) for name, values in outcomes.items()},
        against_base={
            name: mcnemar(base.outcomes(name if name in names else None), values) if base is not None else None
            for name, values in outcomes.items()
        },
        margin=mean(margins) if (margins := [a.margin for a in judged if a.margin is not None]) else None,
        no_answer=proportion([answer.is_cut for answer in judged]),
        coherent=proportion([answer.coherent for answer in judged]),
        broken=proportion([not answer.coherent and not answer.refused[first] for answer in judged]),
        clustered=clustered(next(iter(outcomes.values())), benchmark.clusters),
        detectable=detectable_rise(len(judged)),
        agreement={f"{one}|{other}": cohens_kappa(safe[one], safe[other]) for one, other in combinations(safe, 2)},
        answers=judged,
    )


def _check_same_prompts(benchmark: Benchmark, answers: Sequence[Answer], base: EvalResult) -> None:
    if [answer.prompt for answer in base.answers] != [answer.prompt for answer in answers]:
        raise ConfigError(
            f"Expected the answers of the model before tuning to the same {len(answers)} prompts of {benchmark.name}, "
            f"found {len(base.answers)}, to others. Assess it on the same benchmark, or give this one another name."
        )


def _judged(
    benchmark: Benchmark,
    answers: Sequence[Answer],
    judges: Mapping[str, Judge],
    *,
    surprises: Sequence[float],
    limit: float,
) -> list[JudgedAnswer]:
    """Every answer with its verdicts, the first judge's among them even where the others have nothing to say."""
    first = next(iter(judges))
    asked = {name: judge for name, judge in judges.items() if name == first or benchmark.kind in judge.sees}
    given = {name: judge.judge(answers) for name, judge in asked.items()}
    silent = [name for name, of_judge in given.items() if not any(of_judge)]
    if first in silent:
        raise ConfigError(
            f"Expected a first judge with a verdict on answers to {benchmark.name}, found none by {first}. Put "
            "refusal_phrases first."
        )
    if silent:
        _log.warning("%s has no verdict on answers to %s: it is left out there", ", ".join(silent), benchmark.name)
    # Without a verdict an answer is no refusal, and being no text it is no success either.
    verdicts = {
        name: [verdict or Verdict(is_safe=False) for verdict in of_judge]
        for name, of_judge in given.items()
        if name not in silent
    }
    return [
        JudgedAnswer(
            prompt=answer.prompt,
            text=answer.text,
            margin=answer.margin,
            is_cut=answer.is_cut,
            surprise=surprises[i],
            coherent=is_coherent(answer.text, surprises[i], limit),
            refused={name: of_judge[i].is_safe for name, of_judge in verdicts.items()},
            scores={name: of_judge[i].score for name, of_judge in verdicts.items()},
            right=is_correct(answer, benchmark.prompts[i].reference or "", benchmark.metric)
            if benchmark.kind.has_right_answers
            else None,
        )
        for i, answer in enumerate(answers)
    ]
