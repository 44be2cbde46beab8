"""Runner: one model on every benchmark and on the task, each number with n and interval."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.artifacts import Journal
from securetune.data.prompts import Example, Prompt, render
from securetune.errors import ConfigError
from securetune.evaluate.answers import Answer, generate_answers
from securetune.evaluate.attacks.base.interface import Attack
from securetune.evaluate.coherence import is_coherent, surprise_limit, surprises
from securetune.evaluate.config import EvaluateConfig, Metric
from securetune.evaluate.judges import JUDGES
from securetune.evaluate.judges.base.interface import Judge, Kind
from securetune.evaluate.judges.refusal_margin import RefusalMargin
from securetune.evaluate.losses import answer_loss
from securetune.evaluate.task import is_correct
from securetune.evaluate.vllm_engine import Request
from securetune.measures.outcomes import counted_outcomes, stored_outcomes
from securetune.measures.statistics import (
    Estimate,
    McNemar,
    clustered,
    cohens_kappa,
    detectable_rise,
    mcnemar,
    mean,
    near_duplicates,
    proportion,
)
from securetune.models.openings import Openings


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A named set of prompts that should all be refused (harmful), answered (benign), or answered right (skill)."""

    name: str
    kind: Kind
    prompts: tuple[Prompt, ...]
    attack: Attack | None = None
    """What is put around the prompts."""
    origin: str
    """Where the prompts come from: a file, or a repository at a commit."""

    @cached_property
    def clusters(self) -> list[int]:
        """The cluster of near-duplicates that each prompt belongs to."""
        return near_duplicates([prompt.text for prompt in self.prompts])


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """One model on one benchmark."""

    benchmark: str
    kind: Kind
    origin: str
    rates: dict[str, Estimate]
    """Per judge: attack success rate (harmful: not safe, and coherent) or over-refusal (benign); or the share right."""
    against_base: dict[str, McNemar | None]
    """Per judge: paired test against the model before tuning; None for that model itself."""
    margin: Estimate
    """Mean refusal margin, in nats."""
    coherent: Estimate
    """Share of answers that are text, see `coherence`."""
    broken: Estimate
    """Share of answers that are neither text nor, to the first judge, a refusal."""
    clustered: Estimate
    """The first rate, with an interval over clusters of near-duplicate prompts; n counts clusters."""
    detectable: float
    """Smallest rise that this many prompts show with 80 % power, see `detectable_rise`."""
    agreement: dict[str, float | None]
    """Cohen's kappa of every two judges, by their names joined with ``|``."""
    answers: list[dict[str, Any]]
    """Prompt, text, margin and verdicts of every answer."""


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """One model on the held-out rows of the tuning task."""

    loss: float
    """Cross-entropy per answer token, in nats."""
    metric: Metric | None
    score: Estimate | None
    """Share of correct answers."""
    answers: list[dict[str, Any]]


def judges_of(config: EvaluateConfig) -> dict[str, Judge]:
    """The configured judges, the first one first.

    Raises:
        RegistryError: no judge of that name.
        ConfigError: a wrong setting, or a first judge that cannot tell over-refusal.
    """
    for name in config.judge:
        JUDGES.get(name)
    made = {name: JUDGES.make(name, config.judge.get(name, {}), f"evaluate.judge.{name}") for name in config.judges}
    first = next(iter(made), None)
    if first is None or "benign" not in made[first].sees:
        raise ConfigError(
            f"Expected a first judge that tells over-refusal too, found {first}. Put refusal_phrases first."
        )
    return made


def evaluate_benchmark(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    benchmark: Benchmark,
    config: EvaluateConfig,
    *,
    openings: Openings,
) -> EvalResult:
    """Generate and judge one model's answers, coherence by their form alone; `judge_answers` does more."""
    answers = answer_benchmark(model, tokenizer, benchmark, config, openings=openings)
    return judge_answers(benchmark, answers, config)


def answer_benchmark(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    benchmark: Benchmark,
    config: EvaluateConfig,
    *,
    openings: Openings,
    known: Journal | None = None,
) -> list[Answer]:
    """Generate a model's answers; those in `known` are not generated again."""
    judges = [judge for judge in judges_of(config).values() if not isinstance(judge, RefusalMargin)]
    decides = config.stop_when_decided and benchmark.kind == "harmful"
    return generate_answers(
        model,
        tokenizer,
        [prompt.text for prompt in benchmark.prompts],
        texts=benchmark_texts(tokenizer, benchmark, config, model),
        max_new_tokens=_length(benchmark, config),
        batch_size=config.batch_size,
        openings=openings,
        prefill=benchmark.attack.prefill if benchmark.attack else "",
        decided=(lambda text: all(judge.decides(text) for judge in judges)) if decides else None,
        known=known,
        description=benchmark.name,
    )


def benchmark_texts(
    tokenizer: PreTrainedTokenizerBase, benchmark: Benchmark, config: EvaluateConfig, model: PreTrainedModel | None
) -> list[str]:
    """What a model is given to answer; only an attack that searches needs it."""
    prompts, attack = [prompt.text for prompt in benchmark.prompts], benchmark.attack
    if attack is None:
        return render(tokenizer, prompts, system=config.system)
    asked = attack.search(model, tokenizer, prompts) if attack.searches else attack.prompts(prompts)
    return [text + attack.prefill for text in render(tokenizer, asked, system=config.system, turns=attack.turns)]


def _length(benchmark: Benchmark, config: EvaluateConfig) -> int:
    return config.task_max_new_tokens if benchmark.kind == "skill" else config.max_new_tokens


def requests(
    tokenizer: PreTrainedTokenizerBase,
    benchmarks: Sequence[Benchmark],
    examples: Sequence[Example],
    config: EvaluateConfig,
    *,
    openings: Openings,
    system: str | None,
) -> list[Request]:
    """All that can be asked before the model is at hand: the benchmarks without a search, and the task's `examples`."""
    found = [
        Request(text=text, max_new_tokens=_length(benchmark, config), openings=openings)
        for benchmark in benchmarks
        if not (benchmark.attack and benchmark.attack.searches)
        for text in benchmark_texts(tokenizer, benchmark, config, None)
    ]
    task = render(tokenizer, [example["prompt"][-1]["content"] for example in examples], system=system)
    return [*found, *(Request(text=text, max_new_tokens=config.task_max_new_tokens) for text in task)]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How surprising the model before tuning finds answers, in nats per token."""

    surprises: Sequence[float]
    limit: float
    """The most that counts as text."""


def read_answers(
    reader: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    benchmarks: Sequence[Benchmark],
    answers: Sequence[Sequence[Answer]],
    config: EvaluateConfig,
    *,
    references: Sequence[Answer],
    limit: float | None,
) -> list[Reading]:
    """Let the model before tuning read every benchmark's answers.

    `limit` is None where these are its own: then it comes from them and the task's reference answers.
    """
    found = [surprises(reader, tokenizer, given, batch_size=config.batch_size) for given in answers]
    if limit is None:
        own = [s for b, own in zip(benchmarks, found, strict=True) if b.kind == "benign" for s in own]
        limit = surprise_limit(own, surprises(reader, tokenizer, references, batch_size=config.batch_size))
    return [Reading(surprises=own, limit=limit) for own in found]


def judge_answers(
    benchmark: Benchmark,
    answers: Sequence[Answer],
    config: EvaluateConfig,
    *,
    reading: Reading | None = None,
    base: Mapping[str, Any] | None = None,
    judges: Mapping[str, Judge] | None = None,
) -> EvalResult:
    """Judge answers, and compare them with the base model's stored result on the same prompts, if given.

    Give `judges` where there are several benchmarks: a judge that asks a model loads it once.
    """
    if reading is None:
        coherent = [is_coherent(answer.text) for answer in answers]
    else:
        read = zip(answers, reading.surprises, strict=True)
        coherent = [is_coherent(answer.text, surprise, reading.limit) for answer, surprise in read]
    judges = judges or judges_of(config)
    first = next(iter(judges))
    seen = {name: judge for name, judge in judges.items() if benchmark.kind in judge.sees or name == first}
    verdicts = {name: judge.judge(answers) for name, judge in seen.items()}
    safe = {name: [verdict.is_safe for verdict in given] for name, given in verdicts.items()}
    right = _right(benchmark, answers)
    counted = {name: counted_outcomes(values, coherent, benchmark.kind) for name, values in safe.items()}
    if right is not None:
        counted = {SKILL: right}
    return EvalResult(
        benchmark=benchmark.name,
        kind=benchmark.kind,
        origin=benchmark.origin,
        rates={name: proportion(values) for name, values in counted.items()},
        against_base={
            name: mcnemar(stored_outcomes(base, name), values) if base else None for name, values in counted.items()
        },
        margin=mean([answer.margin or 0.0 for answer in answers]),
        coherent=proportion(coherent),
        broken=proportion([not c and not r for c, r in zip(coherent, safe[first], strict=True)]),
        clustered=clustered(next(iter(counted.values())), benchmark.clusters),
        detectable=detectable_rise(len(answers)),
        agreement={f"{one}|{other}": cohens_kappa(safe[one], safe[other]) for one, other in combinations(safe, 2)},
        answers=[
            {
                **asdict(answer),
                "surprise": reading.surprises[i] if reading else None,
                "coherent": coherent[i],
                "refused": {name: values[i] for name, values in safe.items()},
                "scores": {name: given[i].score for name, given in verdicts.items()},
                "right": right[i] if right is not None else None,
            }
            for i, answer in enumerate(answers)
        ],
    )


SKILL: Metric = "final_number"
"""How an answer is compared with the right one, in benchmarks of skill."""


def _right(benchmark: Benchmark, answers: Sequence[Answer]) -> list[bool] | None:
    """Whether every answer is right; None where that is not what the benchmark asks."""
    if benchmark.kind != "skill":
        return None
    pairs = zip(answers, benchmark.prompts, strict=True)
    return [is_correct(answer, prompt.reference or "", SKILL) for answer, prompt in pairs]


def evaluate_task(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    config: EvaluateConfig,
    *,
    metric: Metric | None,
    pattern: str | None = None,
    max_length: int,
    system: str | None = None,
    known: Journal | None = None,
) -> TaskResult:
    """Loss on the held-out answers and, with a metric, the share answered correctly (under a system prompt)."""
    loss = answer_loss(model, tokenizer, examples, max_length=max_length)
    if metric is None:
        return TaskResult(loss=loss, metric=None, score=None, answers=[])
    answers = generate_answers(
        model,
        tokenizer,
        [example["prompt"][-1]["content"] for example in examples],
        max_new_tokens=config.task_max_new_tokens,
        batch_size=config.batch_size,
        system=system,
        known=known,
        description="Task",
    )
    references = [example["completion"][0]["content"] for example in examples]
    correct = [is_correct(a, r, metric, pattern) for a, r in zip(answers, references, strict=True)]
    return TaskResult(
        loss=loss,
        metric=metric,
        score=proportion(correct),
        answers=[
            {"prompt": a.prompt, "text": a.text, "reference": r, "correct": c}
            for a, r, c in zip(answers, references, correct, strict=True)
        ],
    )
