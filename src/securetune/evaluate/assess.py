"""Assess: does a model refuse what it should, and answer what it should?

Three steps that belong together: the model answers, the model before tuning reads the answers (only it can tell broken
text, see `coherence`), and the judges judge them.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.artifacts import Journal
from securetune.data.stored import store
from securetune.errors import ConfigError
from securetune.evaluate.answers import Answer, generate_answers
from securetune.evaluate.benchmark import Benchmark
from securetune.evaluate.coherence import surprise_limit, surprises
from securetune.evaluate.config import EvaluateConfig
from securetune.evaluate.generation import Decoding
from securetune.evaluate.judges.base.interface import Judge
from securetune.evaluate.judging import judge_benchmark, judges_of
from securetune.evaluate.result import Assessment
from securetune.measures.kinds import BENIGN, HARMFUL
from securetune.models.openings import Openings


def assess(
    model: PreTrainedModel,
    reader: PreTrainedModel | Callable[[], PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    benchmarks: Sequence[Benchmark],
    config: EvaluateConfig,
    *,
    openings: Openings,
    before: Assessment | None = None,
    references: Sequence[Answer] = (),
    known: Journal | None = None,
    kept: Journal | None = None,
    folder: Path | None = None,
) -> Assessment:
    """One model on every benchmark.

    Args:
        model: the model to assess.
        reader: the model before tuning, or what gives it once all answers are there. The model to assess is no longer
            held here then, so that a caller who gives it up too has room for the other.
        tokenizer: their tokenizer.
        benchmarks: what it is asked.
        config: how its answers are generated and judged.
        openings: first tokens of refusals and compliance.
        before: the same of the model before tuning, to compare with; None where `model` is that very model.
        references: right answers to rows of the task. With the answers to the benign benchmarks they tell how
            surprising text may be, where there is no `before`.
        known: answers of this very model that are there already; new ones are added.
        kept: verdicts of judges that ask a model; new ones are added as they come.
        folder: where there is room for all answers; by default where the system keeps temporary files.

    Raises:
        ConfigError: a tuned model without `before`, or with one of other prompts; nothing that tells how surprising
            text may be; wrong judges.
        ModelError: a judge's endpoint does not answer.
        ArtifactError: `before` lacks a judge.
    """
    if before is None and isinstance(reader, nn.Module) and reader is not model:
        raise ConfigError(
            "Expected `before` with a model that is not its own reader, found none: what counts as text is told by the "
            "model before tuning. Assess that one first, then give the result as `before`."
        )
    judges = judges_of(config)
    for judge in judges.values():
        judge.check()
    decodings = [_decoding(b, config, judges, openings=openings, known=known) for b in benchmarks]
    answers = [
        store(generate_answers(model, tokenizer, b.questions(tokenizer, config, model), decoding), folder, kind=Answer)
        for b, decoding in zip(benchmarks, decodings, strict=True)
    ]
    del model
    reading = reader if isinstance(reader, nn.Module) else reader()
    nats = [surprises(reading, tokenizer, given, batch_size=config.batch_size) for given in answers]
    if before is None:
        benign = [value for b, values in zip(benchmarks, nats, strict=True) if b.kind is BENIGN for value in values]
        limit = surprise_limit(benign, surprises(reading, tokenizer, references, batch_size=config.batch_size))
        before = Assessment(results=[], surprise_limit=limit)
    base = {result.benchmark: result for result in before.results}
    results = [
        judge_benchmark(
            b,
            given,
            judges,
            surprises=values,
            limit=before.surprise_limit,
            base=base.get(b.name),
            sampling=b.sampling(config),
            kept=kept,
            folder=folder,
        )
        for b, given, values in zip(benchmarks, answers, nats, strict=True)
    ]
    return Assessment(results=results, surprise_limit=before.surprise_limit)


def assess_texts(
    benchmarks: Sequence[Benchmark],
    answers: Sequence[Sequence[Answer]],
    config: EvaluateConfig,
    *,
    before: Assessment | None,
    kept: Journal | None = None,
    folder: Path | None = None,
) -> Assessment:
    """One model on every benchmark, by its answers alone: no model reads them, and none has a margin.

    Args:
        benchmarks: what it was asked.
        answers: to each of them.
        config: how they are judged.
        before: the same of the model before tuning; None where it is that very model.
        kept: see `assess`.
        folder: see `assess`.

    Raises:
        SecuretuneError: see `assess`.
    """
    judges = judges_of(config)
    base = {result.benchmark: result for result in before.results} if before is not None else {}
    results = [
        judge_benchmark(
            b,
            given,
            judges,
            surprises=[None] * len(given),
            limit=None,
            base=base.get(b.name),
            sampling=b.sampling(config),
            kept=kept,
            folder=folder,
        )
        for b, given in zip(benchmarks, answers, strict=True)
    ]
    return Assessment(results=results, surprise_limit=None)


def _decoding(
    benchmark: Benchmark,
    config: EvaluateConfig,
    judges: Mapping[str, Judge],
    *,
    openings: Openings,
    known: Journal | None,
) -> Decoding:
    """How the answers to a benchmark are generated."""
    may_stop = config.stop_when_decided and benchmark.kind is HARMFUL
    return Decoding(
        max_new_tokens=benchmark.max_new_tokens(config),
        batch_size=config.batch_size,
        openings=openings,
        temperature=benchmark.sampling(config).temperature,
        decided=(lambda text: all(judge.decides(text) for judge in judges.values())) if may_stop else None,
        known=known,
        description=benchmark.name,
    )
