"""Render, tokenize and answer a sample of everything before any work."""

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from transformers.utils import is_torch_bf16_gpu_available, is_torch_xla_available

from securetune.base.artifacts import Artifact, Product
from securetune.base.fingerprint import fingerprint
from securetune.base.typed import from_json, to_json
from securetune.config import RunConfig
from securetune.data.config import OWN
from securetune.data.prompts import Prompt
from securetune.data.rendering import (
    PromptsFound,
    RowsFound,
    check_prompts,
    check_rows,
    check_template,
    longest_text,
)
from securetune.defences.base.combination import Combination
from securetune.defences.base.needs import SAFETY_ROWS
from securetune.errors import ConfigError, ModelError
from securetune.evaluate.preflight import (
    Preflight,
    answer_faults,
    answer_notes,
    over_refusal_notes,
    prompt_notes,
    row_faults,
    row_notes,
    stopping_error,
    template_faults,
    template_notes,
)
from securetune.evaluate.rendered import check_analysis, check_benchmark, room_faults
from securetune.evaluate.seen import analysis_notes, trained_notes
from securetune.evaluate.task import task_questions
from securetune.evaluate.untuned import ask_untuned, phrases_judge
from securetune.flow.session import Session
from securetune.flow.stages.base.stage import Inputs, Stage, Work
from securetune.models.counterpart import differences
from securetune.models.given import is_same_model
from securetune.report.terminal import print_preflight

log = logging.getLogger(__name__)

_EDITED = 32
"""Rows that are looked at as a defence changes them."""


def depends(work: Work) -> Inputs:
    """The model, every source of rows and prompts, and how they are put to the model."""
    session, config = work.session, work.session.config
    evaluate, train = config.evaluate, config.train
    return {
        "model": session.model_fingerprint,
        "unaligned": fingerprint(config.unaligned),
        "analysis": fingerprint(config.analysis),
        "data": session.task_fingerprint,
        "safety": fingerprint(config.safety),
        "benchmarks": fingerprint(session.benchmarks),
        "train": fingerprint([train.max_length, train.bf16]),
        "evaluate": fingerprint([evaluate.system, evaluate.max_new_tokens, evaluate.task_max_new_tokens]),
        "systems": fingerprint(_arm_prompts(session)),
        "edited": fingerprint({arm: edits.fingerprint() for arm, edits in _editing(session).items()}),
        "judge": phrases_judge(evaluate).fingerprint(),
        "preflight": fingerprint(config.preflight),
        "seed": str(config.seed),
    }


def compute(work: Work) -> Product:
    """What needs no model first; then a few answers of the model before tuning."""
    session, config = work.session, work.session.config
    _check_device(config)
    template = check_template(session.tokenizer)
    rows, prompts = list(_rows(session)), list(_prompts(session))
    faults = [*_unaligned_faults(config), *template_faults(template), *row_faults(rows)]
    _stop_at(faults, config)
    model = session.base_model()
    longest = {found.source: min(found.longest, config.train.max_length) for found in rows}
    faults += room_faults(model.config, longest, prompts, config.evaluate.max_new_tokens)
    _stop_at(faults, config)
    untuned = ask_untuned(
        model,
        session.tokenizer,
        _sample(session, session.prompts.malicious),
        _sample(session, session.prompts.benign),
        config.evaluate,
    )
    answers = answer_faults(untuned, config.preflight)
    is_stopped = config.preflight.stop and bool(answers)
    if config.safety == OWN and not is_stopped:
        rows += _safety_rows(session)
    notes = [*template_notes(template), *_reading_notes(session)]
    notes += [note for found in rows for note in row_notes(found, config.train.max_length)]
    notes += [note for found in prompts for note in prompt_notes(found)]
    notes += [*_seen_notes(session), *_asked_notes(session, is_stopped=is_stopped), *_unaligned_notes(config)]
    notes += [*answer_notes(untuned, config.preflight), *over_refusal_notes(untuned)]
    preflight = Preflight(
        template=template,
        rows=rows,
        prompts=prompts,
        untuned=untuned,
        max_length=config.train.max_length,
        faults=[*faults, *answers],
        notes=notes,
    )
    if is_stopped:
        print_preflight(replace(preflight, faults=[]))  # the error names them
        raise ModelError(stopping_error(answers, untuned))
    for fault in preflight.faults:
        log.warning("%s", fault)
    return Product(data=to_json(preflight))


def _stop_at(faults: Sequence[str], config: RunConfig) -> None:
    """End the run at the first step that finds that its parts do not go together, unless it is to go on."""
    if config.preflight.stop and faults:
        raise ConfigError(
            f"Expected a run whose parts go together, found: {'; '.join(faults)}. Correct that, or set preflight.stop "
            "to false to go on all the same."
        )


def _check_device(config: RunConfig) -> None:
    """The same question as the training arguments ask, hours earlier."""
    if config.train.bf16 and not (is_torch_bf16_gpu_available() or is_torch_xla_available()):
        raise ConfigError(
            "Expected a GPU that computes in bfloat16 for train.bf16, found none. Set train.bf16 to false, or run on "
            "another machine."
        )


def _rows(session: Session) -> Iterator[RowsFound]:
    """Every source of rows."""
    tokenizer, (rows, held_out), sources = session.tokenizer, session.examples, session.sources
    task, max_length = session.config.task, session.config.train.max_length
    yield check_rows(tokenizer, task.name, rows, max_length=max_length, loaded=sources.train)
    yield check_rows(tokenizer, f"{task.name}, held out", held_out, max_length=max_length, loaded=sources.test)
    yield from _edited_rows(session)
    if (mixed := sources.mixed) is not None:
        yield check_rows(tokenizer, f"{task.name}, mixed in", mixed.rows, max_length=max_length, loaded=mixed)
    if session.config.safety != OWN:
        yield from _safety_rows(session)


def _edited_rows(session: Session) -> Iterator[RowsFound]:
    """Some rows as the arms tune on them that change rows by themselves."""
    for arm, combination in _editing(session).items():
        rows = combination.edit_data(session.examples[0][:_EDITED], (), session.config.seed)
        source = f"{session.config.task.name}, as {arm} tunes on it"
        yield check_rows(session.tokenizer, source, rows, max_length=session.config.train.max_length)


def _editing(session: Session) -> dict[str, Combination]:
    """Arms that change rows and need no others for it."""
    arms = {arm: session.combination(arm) for arm in session.arms}
    return {arm: c for arm, c in arms.items() if c.with_hook("edit_data") and SAFETY_ROWS not in c.needs}


def _safety_rows(session: Session) -> Iterator[RowsFound]:
    """Rows with safe answers; the model's own are asked for only after it is found to refuse."""
    if (safety := session.safety) is not None:
        max_length = session.config.train.max_length
        yield check_rows(session.tokenizer, "safety", safety.rows, max_length=max_length, loaded=safety)


def _prompts(session: Session) -> Iterator[PromptsFound]:
    """Every set of prompts, under every system prompt and attack it is asked under."""
    tokenizer = session.tokenizer
    yield from check_analysis(tokenizer, session.prompts)
    by_arms = _arm_prompts(session)
    systems = list(dict.fromkeys((session.config.evaluate.system, *by_arms)))
    for benchmark in session.benchmarks:
        yield check_benchmark(tokenizer, benchmark, session.config.evaluate, systems)
    if session.config.task.metric is not None:
        yield _asked_of_task(session, [None, *by_arms])


def _asked_of_task(session: Session, systems: Sequence[str | None]) -> PromptsFound:
    """The task's held-out prompts with the turns and the system prompt of their rows."""
    rows, tokenizer = session.examples[1], session.tokenizer
    asked = [row["prompt"][-1]["content"] for row in rows]
    found = check_prompts(tokenizer, f"{session.config.task.name}, asked", asked, systems=systems)
    texts = [question.text for system in systems for question in task_questions(tokenizer, rows, system=system)]
    answer = session.config.evaluate.task_max_new_tokens
    return replace(found, longest=longest_text(tokenizer, texts), answer=answer)


def _arm_prompts(session: Session) -> list[str]:
    """System prompts that the arms' defences want."""
    wanted = (session.combination(arm).inference_prompt() for arm in session.arms)
    return sorted({prompt for prompt in wanted if prompt is not None})


def _reading_notes(session: Session) -> list[str]:
    """What to know of how the files of rows were read."""
    sources, safety = session.sources, None if session.config.safety == OWN else session.safety
    read = (sources.train, sources.test, sources.mixed, safety)
    return [note for source in read if source is not None for note in source.notes]


def _seen_notes(session: Session) -> list[str]:
    """Whether held-out rows are trained on."""
    rows, held_out = session.examples
    asked = {repr(row) for row in held_out}
    trained = {text for row in rows if (text := repr(row)) in asked}
    seen = sum(repr(row) in trained for row in held_out)
    if not seen:
        return []
    return [
        f"{seen:,} of {len(held_out):,} held-out rows of {session.config.task.name} stand word for word among those "
        "that are trained on: the task loss says nothing of new rows there."
    ]


def _asked_notes(session: Session, *, is_stopped: bool) -> list[str]:
    """Whether prompts of the evaluation are trained on, or read by the analysis."""
    safety = None if is_stopped and session.config.safety == OWN else session.safety  # a model may not answer at all
    notes = trained_notes(session.benchmarks, session.examples[0], session.config.task.name)
    if safety is not None:
        notes += trained_notes(session.benchmarks, safety.rows, "safety")
    return [*notes, *analysis_notes(session.benchmarks, (prompt.text for prompt in session.prompts.all))]


def _unaligned_notes(config: RunConfig) -> list[str]:
    if config.unaligned is None or not is_same_model(config.model, config.unaligned):
        return []
    return ["`unaligned` is `model` itself: a defence finds nothing between them that alignment has changed."]


def _unaligned_faults(config: RunConfig) -> list[str]:
    if config.unaligned is None:
        return []
    found = differences(config.model, config.unaligned)
    return [f"`unaligned` is not the base of `model`: {'; '.join(found)}"] if found else []


def _sample(session: Session, prompts: Sequence[Prompt]) -> list[str]:
    """A few prompts, drawn with the run's seed."""
    count = min(session.config.preflight.prompts, len(prompts))
    return [prompt.text for prompt in random.Random(session.config.seed).sample(list(prompts), count)]


def show(artifact: Artifact) -> None:
    """The table of what was found, whether now or in an earlier run."""
    print_preflight(from_json(Preflight, artifact.data, "preflight"))


stage = Stage(version=5, depends=depends, compute=compute, show=show)
