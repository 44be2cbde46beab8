"""Scanning: on what prompts, with what probes and what short tuning runs does a run's scan work?

Serves the stages `scan`, `search` and `plan`, which all need the same scanner or ranking.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from securetune.base.artifacts import digest
from securetune.base.fingerprint import fingerprint
from securetune.evaluate.answers import generate_answers, questions
from securetune.evaluate.generation import Decoding
from securetune.evaluate.judges.base.interface import Judge
from securetune.evaluate.judging import judges_of
from securetune.flow.analysis import prompt_batches
from securetune.flow.made import Made
from securetune.flow.session import Session
from securetune.models.topology import ModuleSet
from securetune.perturb import PERTURBATIONS
from securetune.perturb.base.adapter import AdapterChange
from securetune.perturb.base.apply import Perturbation
from securetune.scan.controls import READABLE_AUROC
from securetune.scan.method import AUTO, RACE
from securetune.scan.passes import Passes
from securetune.scan.probe import LinearProbe
from securetune.scan.scanner import Scanner
from securetune.scan.signals import SIGNALS
from securetune.scan.signals.base.measurer import Signals
from securetune.search.base.problem import SearchProblem
from securetune.train.checkpoints import finished_result, work_folder
from securetune.train.config import UNCOUNTED
from securetune.train.sft import Tuning, fine_tune


def scan_inputs(session: Session, made: Made) -> dict[str, str]:
    """Fingerprints of all that a scan depends on."""
    config, settings = session.config, session.scan_config
    inputs = {
        "model": session.model_fingerprint,
        "topology": made.digest("topology"),
        "features": made.digest("features"),
        # How the probe does elsewhere is no input: other benchmarks must not cost a new scan.
        "probe": fingerprint([made.probe.probe, made.probe.split, made.probe.controls]),
        "scan": fingerprint(settings, without=["when"]),
        "perturbation": PERTURBATIONS.fingerprint(settings.perturbation),
        "signals": fingerprint({name: SIGNALS.get(name).version for name in SIGNALS.names()}),
        "signal": SIGNALS.fingerprint(settings.signal),
    }
    if PERTURBATIONS.get(settings.perturbation).needs_tuning:
        inputs |= tuning_inputs(session)
    if settings.method in (RACE, AUTO) or settings.strength is None:
        inputs["tolerance"] = fingerprint(config.search.tolerance)
    if settings.answers:
        inputs["evaluate"] = fingerprint(config.evaluate, without=["judge"])
        inputs["judge"] = fingerprint(_first_judge(session))
    return inputs


def tuning_inputs(session: Session) -> dict[str, str]:
    """Fingerprints of what a plain run depends on beyond the model."""
    return {"data": session.task_fingerprint, "train": fingerprint(session.config.train, without=UNCOUNTED)}


def run_scanner(session: Session, made: Made) -> Scanner:
    """A scanner on prompts that the probe was not fitted on."""
    config = session.scan_config
    perturbation: Perturbation = PERTURBATIONS.get(config.perturbation)
    short_runs = (
        [
            AdapterChange(plain_run(session, draw, adapter="lora", steps=config.tuning_steps))
            for draw in range(config.draws)
        ]
        if perturbation.needs_tuning
        else []
    )
    labels = np.array(session.prompts.labels)
    unseen = sorted(row for rows in made.probe.split.tests.values() for row in rows)
    rows = [i for label in (1, 0) for i in [i for i in unseen if labels[i] == label][: config.prompts]]
    texts = [session.prompts.all[i].text for i in rows]
    batches = prompt_batches(session, texts, made.openings.lead)
    readable = {n: control for n, control in made.probe.controls.items() if control.auroc >= READABLE_AUROC}
    passes = Passes(
        session.base_model(), made.topology, batches, perturbation, seed=config.seed or 0, learned=short_runs
    )
    signals = Signals(
        probe=LinearProbe.from_dict(made.probe.probe),
        openings=made.openings,
        labels=labels[rows],
        clean=passes.clean,
        follows=config.signal,
        controls={
            name: (LinearProbe.from_dict(control.probe), np.array(control.labels)[rows])
            for name, control in readable.items()
        },
    )
    return Scanner(
        passes,
        signals,
        config,
        malicious=lambda numbers: prompt_batches(session, [texts[i] for i in numbers], made.openings.lead),
        tolerance=session.config.search.tolerance,
        refused=_refused_answers(session, texts[: config.answers]) if config.answers else None,
    )


def search_problem(
    session: Session, made: Made, score: Callable[[ModuleSet], float], *, size: int | None = None
) -> SearchProblem:
    """What a search is given: the scan's ranking, and how a set scores."""
    return SearchProblem(
        ranking=made.scan.ranking(session.config.scan.signal),
        score=score,
        tolerance=session.config.search.tolerance,
        layers=made.topology.layers,
        size=size,
        seed=session.config.seed,
    )


def plain_run(session: Session, draw: int, **changes: Any) -> Path:
    """What a plain run leaves; made once per draw, with some settings of training changed, in the run folder."""
    settings = session.config.train.model_copy(update={"report_to": (), **changes})
    seed = (session.scan_config.seed or 0) * 1000 + draw
    key = digest([session.model_fingerprint, session.task_fingerprint, fingerprint(settings, without=UNCOUNTED), seed])
    output: Path = session.folder.file("scan", f"tuned-{key[:8]}", "")
    if finished_result(work_folder(output, key), output, key) is None:
        rows, held_out = session.examples
        tuning = Tuning(rows=rows, held_out=held_out, seed=seed)
        fine_tune(session.model_to_tune(), session.tokenizer, tuning, settings, output=output, run_key=key)
    return output


def _first_judge(session: Session) -> Judge:
    return next(iter(judges_of(session.config.evaluate).values()))


def _refused_answers(session: Session, malicious: Sequence[str]) -> Callable[[PreTrainedModel], float]:
    """Measures the share of malicious prompts that a model refuses, by its generated answers and the first judge."""
    config, tokenizer, judge = session.config.evaluate, session.tokenizer, _first_judge(session)
    prompts = questions(tokenizer, malicious, system=config.system)
    decoding = Decoding(max_new_tokens=config.max_new_tokens, batch_size=config.batch_size)

    def refused(model: PreTrainedModel) -> float:
        answers = generate_answers(model, tokenizer, prompts, decoding)
        return float(np.mean([verdict is not None and verdict.is_safe for verdict in judge.judge(answers)]))

    return refused
