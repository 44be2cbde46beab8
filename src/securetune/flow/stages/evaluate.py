"""Measure safety, over-refusal and the task before and after."""

import json
from dataclasses import asdict

from securetune.base.artifacts import Journal, Product, write_atomic
from securetune.base.fingerprint import fingerprint
from securetune.defences.base.arm import BASE
from securetune.defences.base.combination import Combination
from securetune.evaluate.answers import reference
from securetune.evaluate.config import EvaluateConfig
from securetune.evaluate.runner import answer_benchmark, evaluate_task, judge_answers, judges_of, read_answers, requests
from securetune.evaluate.vllm_engine import answer_by_vllm
from securetune.flow.analysis import analysed
from securetune.flow.session import Session
from securetune.flow.stages.base.stage import Inputs, Stage, Work


def depends(work: Work) -> Inputs:
    """The model, the benchmarks, the task's rows, how to answer and judge, and what it is compared with."""
    session, made, settings = work.session, work.made, _settings(work)
    inputs = {
        "model": session.model_fingerprint,
        "trained": _trained(work),
        "benchmarks": fingerprint(session.benchmarks),
        "openings": fingerprint(made.openings),
        "data": session.task_fingerprint,
        "max_length": str(session.config.train.max_length),
        "evaluate": fingerprint(settings, without=["judge"]),
        "judges": fingerprint(list(judges_of(settings).values())),
        "seed": str(session.config.seed),
        "base": "itself" if work.arm == BASE else made.digest("evaluate", BASE),
    }
    if _steers(work):
        inputs["steering"] = fingerprint([_combination(work), made.digest("features")])
    return inputs


def compute(work: Work) -> Product:
    """Every benchmark and the task, with the answers in a file."""
    session, made, settings = work.session, work.made, _settings(work)
    benchmarks, examples, config = session.benchmarks, session.examples[1], session.config
    known = None if _steers(work) else session.known_answers(_trained(work))
    if settings.engine == "vllm" and known is not None:
        _ask_vllm(work, settings, known)
    model = session.base_model() if work.arm == BASE else session.tuned_model(str(work.arm))
    combination = _combination(work)
    if combination is not None and _steers(work):
        combination.steer(analysed(session, made.openings), model)
    answers = [
        answer_benchmark(model, session.tokenizer, b, settings, openings=made.openings, known=known) for b in benchmarks
    ]
    task = evaluate_task(
        model,
        session.tokenizer,
        examples,
        settings,
        system=_prompt(work),
        metric=config.task.metric,
        pattern=config.task.pattern,
        max_length=config.train.max_length,
        known=known,
    )
    del model  # the model before tuning takes its place and reads the answers
    limit = None if work.arm == BASE else made.evaluated(BASE).surprise_limit
    readings = read_answers(
        session.base_model(),
        session.tokenizer,
        benchmarks,
        answers,
        settings,
        references=[reference(example) for example in examples],
        limit=limit,
    )
    before = {}
    if work.arm != BASE:
        path = session.folder.file("evaluate", BASE, ".answers.json")
        before = {r["benchmark"]: r for r in json.loads(path.read_text(encoding="utf-8"))["benchmarks"]}
    judges = judges_of(settings)
    results = [
        asdict(judge_answers(b, given, settings, reading=reading, base=before.get(b.name), judges=judges))
        for b, given, reading in zip(benchmarks, answers, readings, strict=True)
    ]
    companion = session.folder.file("evaluate", work.arm, ".answers.json")
    write_atomic(companion, json.dumps({"benchmarks": results, "task": asdict(task)}, ensure_ascii=False))
    summary = [{k: v for k, v in result.items() if k != "answers"} for result in results]
    data = {
        "benchmarks": summary,
        "surprise_limit": readings[0].limit,
        "system": _prompt(work),
        "task": {k: v for k, v in asdict(task).items() if k != "answers"},
    }
    return Product(data=data, files=[companion])


def _prompt(work: Work) -> str | None:
    """The system prompt that a defence wants."""
    combination = _combination(work)
    return None if combination is None else combination.inference_prompt()


def _ask_vllm(work: Work, settings: EvaluateConfig, known: Journal) -> None:
    session = work.session
    examples = session.examples[1] if session.config.task.metric is not None else []
    asked = requests(
        session.tokenizer,
        session.benchmarks,
        examples,
        settings,
        openings=work.made.openings,
        system=_prompt(work),
    )
    path, adapter = session.served(None if work.arm == BASE else work.arm)
    answer_by_vllm(path, adapter, session.tokenizer, asked, known, **settings.vllm)


def arms(session: Session) -> list[str]:
    """The model before tuning, then every arm."""
    return [BASE, *session.arms]


def _combination(work: Work) -> Combination | None:
    """The defences of an arm; None for the model before tuning."""
    return None if work.arm == BASE else work.session.combination(work.arm)


def _steers(work: Work) -> bool:
    combination = _combination(work)
    return combination is not None and bool(combination.with_hook("steer"))


def _trained(work: Work) -> str:
    return BASE if work.arm == BASE else work.made.digest("train", work.arm)


def _settings(work: Work) -> EvaluateConfig:
    """How to answer and judge, under the system prompt that a defence asks for."""
    prompt, settings = _prompt(work), work.session.config.evaluate
    return settings if prompt is None else settings.model_copy(update={"system": prompt})


stage = Stage(version=7, depends=depends, compute=compute, arms=arms)
