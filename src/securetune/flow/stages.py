"""Stages: what each verb of the pipeline computes, and on what it depends.

One function per stage; each returns the stage's artifact, fresh or stored.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from securetune.base.artifacts import Artifact, Journal, digest, installed_versions, write_atomic
from securetune.base.progress import progress_bar
from securetune.base.typed import to_json
from securetune.defences.base.arm import Arm
from securetune.defences.base.interface import PlanInputs
from securetune.evaluate.answers import reference
from securetune.evaluate.runner import answer_benchmark, evaluate_task, judge_answers, judges_of, read_answers, requests
from securetune.evaluate.vllm_engine import answer_by_vllm
from securetune.flow.probe_validity import probe_findings
from securetune.flow.scan_setup import analysed, prompt_batches, scan_inputs, session_scanner
from securetune.flow.session import Session
from securetune.measures.loss_target import LossTarget
from securetune.models.features import extract_features
from securetune.models.libraries import processes
from securetune.models.loading import tokenizer_hash
from securetune.models.openings import Openings, find_openings
from securetune.models.reading import read_topology
from securetune.models.topology import ModuleSet, Topology
from securetune.plans.plan import Plan, PlanModel
from securetune.report import figures as figures_of
from securetune.report.reading import read_run
from securetune.report.render import render_report, report_figures
from securetune.report.sections import sections_digest
from securetune.report.tables import render_tables
from securetune.scan.result import ScanResult
from securetune.search import SEARCHES
from securetune.search.base.problem import SearchProblem
from securetune.train.sft import fine_tune


def topology(session: Session) -> Artifact:
    """Read layers and roles off the model."""

    def compute() -> tuple[dict[str, Any], list[Path]]:
        found = read_topology(session.base_model())
        return {
            **found.to_dict(),
            "fingerprint": found.fingerprint(),
            "tokenizer": tokenizer_hash(session.tokenizer),
            "parameters": sum(p.numel() for p in session.base_model().parameters()),
        }, []

    return session.folder.produce("topology", {"model": session.model_digest}, compute)


def features(session: Session, topology: Artifact) -> Artifact:
    """Extract the last-token state of the analysis prompts, and find the model's openings."""
    analysis = session.config.analysis

    def compute() -> tuple[dict[str, Any], list[Path]]:
        prompts = session.prompts
        found = extract_features(session.base_model(), prompt_batches(session, [prompt.text for prompt in prompts.all]))
        split = len(prompts.malicious)
        openings = find_openings(session.tokenizer, found.logits[:split], found.logits[split:])
        companion = session.folder.file("features", suffix=".safetensors")
        save_file({"hidden": found.hidden}, companion)
        data = {"malicious": split, "benign": len(prompts.benign), "openings": asdict(openings)}
        return data, [companion]

    inputs = {
        "topology": topology.digest,
        "model": session.model_digest,
        "prompts": session.prompts_digest((analysis.malicious, analysis.benign)),
        "seed": str(session.config.seed),
    }
    return session.folder.produce("features", inputs, compute, seed=session.config.seed)


def probe(session: Session, features: Artifact) -> Artifact:
    """Fit the probe on one part of the prompts and test it on the parts it has not seen, and elsewhere."""

    def compute() -> tuple[dict[str, Any], list[Path]]:
        return probe_findings(session, _hidden(session, features)), []

    inputs = {
        "features": features.digest,
        "model": session.model_digest,
        "benchmarks": session.benchmarks_digest(),
        "seed": str(session.config.seed),
    }
    return session.folder.produce("probe", inputs, compute, seed=session.config.seed)


def scan(session: Session, topology: Artifact, features: Artifact, probe: Artifact) -> Artifact:
    """Perturb every module alone and measure the drop of every signal."""
    inputs = scan_inputs(session, topology, features, probe)

    def compute() -> tuple[dict[str, Any], list[Path]]:
        measured = session_scanner(session, topology, features, probe).scan(_journal(session, "scan", inputs))
        return measured.to_dict(), []

    return session.folder.produce("scan", inputs, compute, seed=session.scan.seed or 0)


def share_scan(session: Session, process: int, count: int) -> None:
    """Measure the share of one of `count` processes; the stage `scan` then finds everything in the journals.

    Call it in every process, after the stage `probe`; it does nothing where the scan is there already.
    """
    stored = {stage: session.folder.read(stage) for stage in ("topology", "features", "probe")}
    made = {stage: artifact for stage, artifact in stored.items() if artifact is not None}
    inputs = scan_inputs(session, **made)
    if session.folder.is_current(session.folder.read("scan"), inputs):
        return
    scanner = session_scanner(session, **made)
    with processes().main_process_first():
        journal = _journal(session, "scan", inputs, process)
        scanner.strength(journal)
    scanner.share(journal, process=process, processes=count)


def search(session: Session, topology: Artifact, features: Artifact, probe: Artifact, scan: Artifact) -> Artifact:
    """Find the largest set of modules whose joint perturbation stays within tolerance."""
    config = session.config.search
    inputs = {
        **scan_inputs(session, topology, features, probe),
        "scan": scan.digest,
        "search": digest(config.model_dump()),
    }

    def compute() -> tuple[dict[str, Any], list[Path]]:
        result = ScanResult.from_dict(scan.data)
        joint = session_scanner(session, topology, features, probe).joint_drops
        journal = _journal(session, "search", inputs)
        signal = session.config.scan.signal
        drops: dict[ModuleSet, dict[str, float]] = {}

        with progress_bar() as bar:
            task = bar.add_task("Search", total=len(result.draws))

            def score(modules: ModuleSet) -> float:
                measure = functools.partial(joint, modules, strength=result.strength)
                drops[modules] = journal.once(",".join(modules.names()), measure)
                bar.advance(task)
                return drops[modules][signal]

            problem = _problem(session, topology, result, score)
            robust = SEARCHES.get(config.method)(problem)
            drop = score(robust)
        evaluated = [
            {"size": len(modules), "drop": found[signal], "modules": modules.names(), "drops": found}
            for modules, found in drops.items()
        ]
        return {
            "robust": robust.names(),
            "drop": drop,
            "tolerance": config.tolerance,
            "signal": signal,
            "scores": result.mean(signal),
            "evaluated": evaluated,
        }, []

    return session.folder.produce("search", inputs, compute, seed=session.config.seed)


def plan(
    session: Session, arm: str, topology: Artifact, features: Artifact, scan: Artifact, search: Artifact
) -> Artifact | None:
    """The plan of one arm; None where no defence of it decides the learning rates."""
    config, combination = session.config, session.combination(arm)
    if not combination.has_plan:
        return None
    inputs = {
        "topology": topology.digest,
        "defences": combination.digest(),
        "seed": str(config.seed),
        **({"scan": scan.digest, "search": search.digest} if combination.reads_scan else {"features": features.digest}),
    }

    def compute() -> tuple[dict[str, Any], list[Path]]:
        result = ScanResult.from_dict(scan.data)
        made = combination.edit_plan(
            PlanInputs(
                model=PlanModel(
                    id=config.model.path,
                    revision=config.model.revision,
                    fingerprint=topology.data["fingerprint"],
                    tokenizer=topology.data["tokenizer"],
                ),
                topology=Topology.from_dict(topology.data),
                robust=ModuleSet.parse(search.data["robust"]),
                search=lambda name, size: SEARCHES.get(name)(_problem(session, topology, result, None, size=size)),
                analysed=functools.partial(analysed, session, features),
                scores=result.mean(config.scan.signal),
                signal=config.scan.signal,
                seed=config.seed,
                versions=installed_versions(),
            )
        )
        return made.model_dump(), []

    return session.folder.produce("plan", inputs, compute, variant=arm, seed=config.seed)


def train(session: Session, arm: str, features: Artifact, plan: Artifact | None, plain: Artifact | None) -> Artifact:
    """Tune with the defences of an arm; all but plain tuning stop at plain tuning's held-out task loss."""
    config, combination = session.config, session.combination(arm)
    rate = config.train.learning_rate * Arm.parse(arm).rate
    settings = config.train.model_copy(update={"learning_rate": rate})
    target = None
    if plain is not None and config.train.match_task_loss:
        target = LossTarget(start=plain.data["start_loss"], plain=plain.data["task_loss"])
    inputs = {
        "model": session.model_digest,
        "data": session.data_digest(),
        "train": digest(settings.model_dump()),
        "plan": plan.digest if plan is not None else "none",
        "defences": combination.digest(),
        "target": str(target),
        "seed": str(config.seed),
        **({"resources": session.resources_digest(), "openings": digest(features.data["openings"])} if plain else {}),
    }

    def compute() -> tuple[dict[str, Any], list[Path]]:
        rows, held_out = session.examples
        output = session.folder.file("train", arm, "")
        result = fine_tune(
            session.model_to_tune(),
            session.tokenizer,
            rows,
            held_out,
            settings,
            output=output,
            plan=Plan.model_validate(plan.data) if plan is not None else None,
            defences=combination,
            resources=replace(session.resources, openings=Openings(**features.data["openings"])),
            target=target,
            seed=config.seed,
            run_key=digest(inputs),
            monitor_every=config.monitor_every,
        )
        named = Arm.parse(arm)
        return {**to_json(result), "title": named.title, "is_defence": named.is_defence}, [output]

    return session.folder.produce("train", inputs, compute, variant=arm, seed=config.seed)


def evaluate(
    session: Session, arm: str, features: Artifact, trained: Artifact | None, base: Artifact | None
) -> Artifact:
    """Measure safety, over-refusal and the task; `trained` is None for the model before tuning."""
    config, combination = session.config, session.combination(arm) if trained is not None else None
    prompt = combination.inference_prompt() if combination is not None else None
    settings = config.evaluate if prompt is None else config.evaluate.model_copy(update={"system": prompt})
    inputs = {
        "model": session.model_digest,
        "trained": trained.digest if trained is not None else "base",
        "benchmarks": session.benchmarks_digest(),
        "openings": digest(features.data["openings"]),
        "data": session.data_digest(),
        "evaluate": digest(settings.model_dump()),
        "seed": str(config.seed),
        "base": base.digest if base is not None else "itself",
    }
    steers = combination is not None and bool(combination.with_hook("steer"))
    if combination is not None and steers:
        inputs["steering"] = digest([combination.digest(), features.digest])

    def compute() -> tuple[dict[str, Any], list[Path]]:
        openings, benchmarks = Openings(**features.data["openings"]), session.benchmarks
        known = None if steers else session.known_answers(trained.digest if trained is not None else "base")
        if settings.engine == "vllm" and known is not None:
            examples = session.examples[1] if config.task.metric is not None else []
            asked = requests(session.tokenizer, benchmarks, examples, settings, openings=openings, system=prompt)
            path, adapter = session.served(arm if trained is not None else None)
            answer_by_vllm(path, adapter, session.tokenizer, asked, known, **settings.vllm)
        model = session.base_model() if trained is None else session.tuned_model(arm)
        if combination is not None and steers:
            combination.steer(analysed(session, features), model)
        answers = [
            answer_benchmark(model, session.tokenizer, b, settings, openings=openings, known=known) for b in benchmarks
        ]
        task = evaluate_task(
            model,
            session.tokenizer,
            session.examples[1],
            settings,
            system=prompt,
            metric=config.task.metric,
            pattern=config.task.pattern,
            max_length=config.train.max_length,
            known=known,
        )
        del model  # the model before tuning takes its place and reads the answers
        limit = base.data["surprise_limit"] if base is not None else None
        readings = read_answers(
            session.base_model(),
            session.tokenizer,
            benchmarks,
            answers,
            settings,
            references=[reference(example) for example in session.examples[1]],
            limit=limit,
        )
        before = {r["benchmark"]: r for r in _load_answers(session, base)} if base is not None else {}
        judges = judges_of(settings)
        results = [
            asdict(judge_answers(b, given, settings, reading=reading, base=before.get(b.name), judges=judges))
            for b, given, reading in zip(benchmarks, answers, readings, strict=True)
        ]
        companion = session.folder.file("evaluate", arm, ".answers.json")
        write_atomic(companion, json.dumps({"benchmarks": results, "task": asdict(task)}, ensure_ascii=False))
        summary = [{k: v for k, v in result.items() if k != "answers"} for result in results]
        return {
            "benchmarks": summary,
            "surprise_limit": readings[0].limit,
            "system": prompt,
            "task": {k: v for k, v in asdict(task).items() if k != "answers"},
        }, [companion]

    return session.folder.produce("evaluate", inputs, compute, variant=arm, seed=config.seed)


def report(session: Session, made: Sequence[Artifact]) -> Artifact:
    """Write the HTML report from the artifacts alone."""

    def compute() -> tuple[dict[str, Any], list[Path]]:
        run = read_run(session.folder, arms=session.arms)
        figures = report_figures(run)
        texts = {".html": render_report(run, figures), **render_tables(run)}
        files = {session.folder.file("report", suffix=suffix): text for suffix, text in texts.items()}
        for path, text in files.items():
            write_atomic(path, text)
        drawn = session.folder.file("report", suffix="-figures")
        drawn.mkdir(exist_ok=True)
        for name, figure in figures.items():
            (drawn / f"{name}.svg").write_text(figures_of.svg(figure), encoding="utf-8")
            (drawn / f"{name}.png").write_bytes(figures_of.png(figure))
        return {"html": session.folder.file("report", suffix=".html").name}, [*files, drawn]

    inputs = {f"{a.stage}-{a.variant}" if a.variant else a.stage: a.digest for a in made}
    inputs["sections"] = sections_digest()
    return session.folder.produce("report", inputs, compute)


def _problem(
    session: Session, topology: Artifact, scan: ScanResult, score: Any, *, size: int | None = None
) -> SearchProblem:
    return SearchProblem(
        ranking=scan.ranking(session.config.scan.signal),
        score=score,
        tolerance=session.config.search.tolerance,
        layers=topology.data["layers"],
        size=size,
        seed=session.config.seed,
    )


def _hidden(session: Session, features: Artifact) -> np.ndarray:
    hidden: np.ndarray = load_file(session.folder.file("features", suffix=".safetensors"))["hidden"].numpy()
    return hidden


def _journal(session: Session, stage: str, inputs: Mapping[str, str], process: int = 0) -> Journal:
    """A journal that belongs to exactly these inputs, one per process; each starts with what all of them hold."""
    path = session.folder.file(stage, suffix=f".{digest(dict(inputs))[:8]}.journal")
    others = sorted(path.parent.glob(f"{path.stem}.process-*.journal"))
    return Journal(path, others) if process == 0 else Journal(path.with_suffix(f".process-{process}.journal"), [path])


def _load_answers(session: Session, evaluated: Artifact) -> list[dict[str, Any]]:
    path = session.folder.file("evaluate", evaluated.variant, ".answers.json")
    loaded: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    return loaded
