"""Causal check of the scan: does the drop it measures for a set of modules predict what tuning that set does?

    python benchmarks/causal.py --tasks letters stepwise --seeds 0 1 2

Every set (attention, MLP, half the depth, random halves) is tuned alone, the rest frozen, until it has plain tuning's
task loss; the ASR it then has is compared with its joint drop in every perturbation and signal.
Finished sets are kept in `--runs` and not repeated. A set that never reaches the loss is marked and left in: that a
module cannot learn the task without losing safety is part of the answer.
"""

import argparse
import functools
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

from embedded import cell_config
from scipy.stats import spearmanr

from securetune import stages
from securetune.artifacts import Journal, RunFolder
from securetune.evaluate.runner import evaluate_benchmark
from securetune.matching import LossTarget
from securetune.models.reading import read_topology
from securetune.pipeline import run
from securetune.plan import PlanModel, plan_of
from securetune.report.tables import percent
from securetune.scan.openings import Openings
from securetune.scan.scanner import ScanConfig, Scanner
from securetune.scan.signals import SIGNALS
from securetune.session import Session
from securetune.topology import ModuleSet, Topology
from securetune.train.sft import train

PERTURBATIONS = ("lowrank", "gaussian", "zero")
DRAWS = 4
ATTENTION = ("q", "k", "v", "o")
RANDOM_SETS = 8


def module_sets(topology: Topology, seed: int) -> dict[str, ModuleSet]:
    """The sets to tune alone, by name: all of about half the modules, so that each can learn the task."""
    refs = list(topology.all)
    found = {
        "attention": [ref for ref in refs if ref.role in ATTENTION],
        "MLP": [ref for ref in refs if ref.role not in ATTENTION],
        "first half of the depth": [ref for ref in refs if ref.layer < topology.layers / 2],
        "second half of the depth": [ref for ref in refs if ref.layer >= topology.layers / 2],
    }
    for i in range(RANDOM_SETS):
        found[f"random half {i + 1}"] = random.Random(100 * seed + i).sample(refs, len(refs) // 2)
    return {name: ModuleSet.of(members) for name, members in found.items()}


def tuned_alone(session: Session, modules: ModuleSet, target: LossTarget, openings: Openings) -> dict[str, Any]:
    """Tune `modules` only, to the target; ASR on the first harmful benchmark and whether the loss was reached."""
    config = session.config
    model, (rows, held_out) = session.model_to_tune(), session.examples
    plan = plan_of("causal", PlanModel(id="testbed"), read_topology(model), modules, rest_lr_mult=0.0)
    settings = config.train.model_copy(update={"match_max_factor": 3.0, "save_every": 10_000})
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            model,
            session.tokenizer,
            rows,
            held_out,
            settings,
            output=Path(folder) / "tuned",
            plan=plan,
            target=target,
            seed=config.seed,
        )
    benchmark = next(b for b in session.benchmarks if b.kind == "harmful")
    found = evaluate_benchmark(model.eval(), session.tokenizer, benchmark, config.evaluate, openings=openings)
    return {
        "asr": vars(found.rates["refusal_phrases"]),
        "steps": result.steps,
        "loss": result.task_loss,
        "reached": target.is_learned(result.task_loss),
    }


def joint_drops(scanner: Scanner, sets: dict[str, ModuleSet]) -> dict[str, Any]:
    """Mean drop of every set and signal, at the strength calibrated on the sets themselves."""
    strength, _ = scanner.calibrate(list(sets.values()))
    drops = {}
    for name, modules in sets.items():
        draws = [scanner.drop(modules, strength=strength, draw=i) for i in range(DRAWS)]
        drops[name] = {signal: statistics.fmean(draw[signal] for draw in draws) for signal in SIGNALS}
    return {"strength": strength, "drops": drops}


def cell(task: str, seed: int, runs: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What tuning each set alone does, and what the scan says of it per perturbation."""
    config = cell_config(task, seed, runs)
    run(config)
    with RunFolder(config.output) as folder:
        session = Session(config, folder)
        made = {name: folder.read(name) for name in ("topology", "features", "probe")}
        plain = folder.read("train", "none")
        assert all(made.values()) and plain is not None
        sets = module_sets(Topology.from_dict(made["topology"].data), seed)
        journal = Journal(folder.path / f"causal-{plain.digest}.journal")
        target = LossTarget(start=plain.data["start_loss"], plain=plain.data["task_loss"])
        openings = Openings(**made["features"].data["openings"])
        predicted = {}
        for kind in PERTURBATIONS:
            scan = ScanConfig(perturbation=kind, prompts=config.scan.prompts, seed=seed)
            scanner = stages.scanner(
                Session(config.model_copy(update={"scan": scan}), folder),
                made["topology"],
                made["features"],
                made["probe"],
            )
            predicted[kind] = journal.once(kind, functools.partial(joint_drops, scanner, sets))
        tuned = {
            name: journal.once(name, functools.partial(tuned_alone, session, modules, target, openings))
            for name, modules in sets.items()
        }
    return tuned, predicted


def main() -> None:
    """Print two Markdown tables: ASR of every set, and the rank correlation with every prediction."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", default=["letters", "stepwise"])
    parser.add_argument("--runs", type=Path, default=Path("runs/embedded"))
    options = parser.parse_args()
    cells = {(task, seed): cell(task, seed, options.runs) for task in options.tasks for seed in options.seeds}
    print("| task | seed | tuned alone | ASR (95 % interval) | steps | task loss | reached |")
    print("|---|---|---|---|---|---|---|")
    for (task, seed), (tuned, _) in cells.items():
        for name, found in tuned.items():
            fields = percent(found["asr"]), found["steps"], f"{found['loss']:.4f}", "yes" if found["reached"] else "no"
            print(f"| {task} | {seed} | {name} | " + " | ".join(map(str, fields)) + " |")
    seeds = " | ".join(f"seed {seed}" for seed in options.seeds)
    print(f"\n| task | perturbation | signal | {seeds} |\n|---|---|---|" + "---|" * len(options.seeds))
    for task in options.tasks:
        for kind in PERTURBATIONS:
            for signal in SIGNALS:
                row = []
                for tuned, predicted in (cells[task, seed] for seed in options.seeds):
                    drops = [predicted[kind]["drops"][name][signal] for name in tuned]
                    rho = spearmanr(drops, [found["asr"]["value"] for found in tuned.values()]).statistic
                    row.append(f"{rho:.2f} (n={len(drops)})" if rho == rho else "no variation")
                print(f"| {task} | {kind} | {signal} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
