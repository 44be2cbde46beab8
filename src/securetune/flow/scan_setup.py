"""Scan set-up: on what prompts, with what probes and what short tuning runs does a session's scan work?"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from securetune.base.artifacts import Artifact, digest
from securetune.defences.base.interface import Analysed
from securetune.evaluate.answers import generate_answers
from securetune.evaluate.runner import judges_of
from securetune.flow.session import Session
from securetune.models.features import PromptBatch, batch_prompts, extract_features
from securetune.models.openings import Openings
from securetune.models.topology import Topology
from securetune.perturb import PERTURBATIONS
from securetune.perturb.base.adapter import AdapterChange
from securetune.perturb.base.apply import Perturbation
from securetune.scan.controls import READABLE_AUROC
from securetune.scan.passes import Passes
from securetune.scan.probe import LinearProbe, Split
from securetune.scan.scanner import Scanner
from securetune.scan.signals import SIGNALS
from securetune.scan.signals.base.measurer import Signals
from securetune.train.sft import fine_tune


def scan_inputs(session: Session, topology: Artifact, features: Artifact, probe: Artifact) -> dict[str, str]:
    """Hashes of all that a scan depends on."""
    config = session.config
    inputs = {
        "model": session.model_digest,
        "topology": topology.digest,
        "features": features.digest,
        # How the probe does elsewhere is no input: other benchmarks must not cost a new scan.
        "probe": digest([probe.data[name] for name in ("probe", "split", "controls")]),
        "scan": digest(session.scan.model_dump()),
        "signals": digest({name: SIGNALS.get(name).version for name in SIGNALS.names()}),
    }
    if PERTURBATIONS.get(config.scan.perturbation).needs_tuning:
        inputs |= {"data": session.data_digest(), "train": digest(config.train.model_dump())}
    if config.scan.method == "race":
        inputs["tolerance"] = digest(config.search.tolerance)
    if config.scan.answers:
        inputs["evaluate"] = digest(config.evaluate.model_dump())
    return inputs


def session_scanner(session: Session, topology: Artifact, features: Artifact, probe: Artifact) -> Scanner:
    """A scanner on prompts the probe was not fitted on."""
    config = session.scan
    perturbation: Perturbation = PERTURBATIONS.get(config.perturbation)
    learned = [_short_run(session, draw) for draw in range(config.draws)] if perturbation.needs_tuning else []
    labels = np.array(session.prompts.labels)
    unseen = Split(**probe.data["split"]).unseen
    chosen = [i for label in (1, 0) for i in [i for i in unseen if labels[i] == label][: config.prompts]]
    texts = [session.prompts.all[i].text for i in chosen]
    batches = prompt_batches(session, texts)
    readable = {n: c for n, c in probe.data["controls"].items() if c["auroc"] >= READABLE_AUROC}
    signals = Signals(
        probe=LinearProbe.from_dict(probe.data["probe"]),
        openings=Openings(**features.data["openings"]),
        labels=labels[chosen],
        clean=extract_features(session.base_model(), batches),
        controls={
            name: (LinearProbe.from_dict(control["probe"]), np.array(control["labels"])[chosen])
            for name, control in readable.items()
        },
    )
    passes = Passes(
        session.base_model(),
        Topology.from_dict(topology.data),
        batches,
        perturbation,
        seed=config.seed or 0,
        learned=learned,
    )
    return Scanner(
        passes,
        signals,
        config,
        malicious=lambda rows: prompt_batches(session, [texts[i] for i in rows]),
        tolerance=session.config.search.tolerance,
        refused=_refused_answers(session, texts[: config.answers]) if config.answers else None,
    )


def prompt_batches(session: Session, texts: Sequence[str]) -> list[PromptBatch]:
    """Prompts as the analysis reads them."""
    return batch_prompts(session.base_model(), session.tokenizer, texts, batch_size=session.config.scan.batch_size)


def analysed(session: Session, features: Artifact) -> Analysed:
    """The model before tuning with the prompts of the analysis, as defences get them."""
    malicious, benign = ([p.text for p in prompts] for prompts in (session.prompts.malicious, session.prompts.benign))
    return Analysed(
        model=session.base_model(),
        malicious=prompt_batches(session, malicious),
        benign=prompt_batches(session, benign),
        openings=Openings(**features.data["openings"]),
    )


def _short_run(session: Session, draw: int) -> AdapterChange:
    """What a short plain LoRA run changes in every module; made once per draw and kept in the run folder."""
    steps = session.config.scan.tuning_steps
    settings = session.config.train.model_copy(update={"adapter": "lora", "steps": steps})
    seed = (session.scan.seed or 0) * 1000 + draw
    key = digest([session.model_digest, session.data_digest(), settings.model_dump(), seed])
    output: Path = session.folder.file("scan", f"tuned-{key[:8]}", "")
    if not output.exists():
        rows, held_out = session.examples
        fine_tune(session.model_to_tune(), session.tokenizer, rows, held_out, settings, output=output, seed=seed)
    return AdapterChange(output)


def _refused_answers(session: Session, malicious: Sequence[str]) -> Callable[[PreTrainedModel], float]:
    """Measures the share of malicious prompts that a model refuses, by its generated answers and the first judge."""
    config, tokenizer = session.config.evaluate, session.tokenizer
    judge = next(iter(judges_of(config).values()))

    def refused(model: PreTrainedModel) -> float:
        answers = generate_answers(
            model,
            tokenizer,
            malicious,
            max_new_tokens=config.max_new_tokens,
            batch_size=config.batch_size,
            system=config.system,
            description=None,
        )
        return float(np.mean([verdict.is_safe for verdict in judge.judge(answers)]))

    return refused
