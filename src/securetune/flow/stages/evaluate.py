"""Measure safety, over-refusal and the task before and after."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from securetune.base.artifacts import Journal, Product
from securetune.base.fingerprint import fingerprint
from securetune.base.typed import to_json
from securetune.defences.base.arm import BASE
from securetune.defences.base.combination import Combination
from securetune.evaluate.config import EvaluateConfig
from securetune.evaluate.judging import judges_of
from securetune.evaluate.result import Evaluation, store_results
from securetune.evaluate.task import Task
from securetune.evaluate.vllm_engine import answer_by_vllm, requests
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
    session, settings = work.session, _settings(work)
    known = None if _steers(work) else session.known_answers(_trained(work))
    if settings.engine == "vllm" and known is not None:
        _ask_vllm(work, settings, known)
    evaluation = _evaluation(work, settings, known)
    return product(evaluation, session.folder.file("evaluate", work.arm, ".answers.json"))


def product(evaluation: Evaluation, companion: Path) -> Product:
    """What is stored of an evaluation; the answers go into the file `companion`."""
    store_results(companion, evaluation)
    return Product(data=_summary(evaluation), files=[companion])


def _summary(evaluation: Evaluation) -> dict[str, Any]:
    """Everything but the answers."""
    bare = [replace(result, answers=[]) for result in evaluation.benchmarks]
    task = None if evaluation.task is None else replace(evaluation.task, answers=[])
    data: dict[str, Any] = to_json(replace(evaluation, benchmarks=bare, task=task))
    for result in (*data["benchmarks"], data["task"] or {}):
        result.pop("answers", None)
    return data


def _evaluation(work: Work, settings: EvaluateConfig, known: Journal | None) -> Evaluation:
    """All answers and what they amount to."""
    session, made, combination = work.session, work.made, _combination(work)
    config, examples = session.config, session.examples[1]

    def load() -> PreTrainedModel:
        model = session.base_model() if work.arm == BASE else session.tuned_model(str(work.arm))
        if combination is not None and _steers(work):
            combination.steer(analysed(session, made.openings), model)
        return model

    task = Task(
        rows=examples,
        metric=config.task.metric,
        pattern=config.task.pattern,
        max_length=config.train.max_length,
    )
    return session.evaluation(
        load,
        task,
        settings,
        openings=made.openings,
        before=None if work.arm == BASE else session.assessed_before(made.evaluated(BASE)),
        known=known,
        system=_prompt(work),
    )


def _prompt(work: Work) -> str | None:
    """The system prompt that a defence wants."""
    combination = _combination(work)
    return None if combination is None else combination.inference_prompt()


def _ask_vllm(work: Work, settings: EvaluateConfig, known: Journal) -> None:
    session = work.session
    examples = session.examples[1] if session.config.task.metric is not None else []
    prompts = requests(
        session.tokenizer,
        session.benchmarks,
        examples,
        settings,
        openings=work.made.openings,
        system=_prompt(work),
    )
    path, adapter = session.served(None if work.arm == BASE else work.arm)
    answer_by_vllm(path, adapter, session.tokenizer, prompts, known, **settings.vllm)


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


stage = Stage(version=10, depends=depends, compute=compute, arms=arms)
