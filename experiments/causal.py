"""Causal check of the scan: does the drop it measures for a set of modules predict what tuning that set does?

    python experiments/causal.py --tasks letters stepwise --seeds 0 1 2

Every set (the searched robust one, the rest, random ones of its size, each role, each quarter of the depth, all but a
quarter, halves) is tuned alone, the rest frozen, until it has plain tuning's task loss; the ASR it then has is compared
with its joint drop in every perturbation and signal. The number of weights in the set stands beside them: a prediction
that needs no scan. So do the prices of a plain run: the margin that the set costs in it, alone and per task loss
gained. Finished sets are kept in `--runs` and not repeated. Sets that never reach the loss are marked and
left out of the correlations.
"""

import argparse
import functools
import math
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from transformers import PreTrainedModel

from securetune.base.artifacts import Journal, RunFolder, digest
from securetune.config import RunConfig, parse_config
from securetune.defences.base.arm import PLAIN
from securetune.evaluate.answers import reference
from securetune.evaluate.assess import assess
from securetune.evaluate.result import Assessment
from securetune.flow.pipeline import advance
from securetune.flow.pricing import module_prices
from securetune.flow.scanning import run_scanner
from securetune.flow.session import Session
from securetune.measures.kinds import BENIGN, HARMFUL, Kind
from securetune.measures.knapsack import Price
from securetune.measures.loss_target import LossTarget
from securetune.measures.statistics import Estimate
from securetune.models.openings import Openings
from securetune.models.reading import read_topology
from securetune.models.topology import ModuleSet, Topology
from securetune.plans.plan import PlanModel, plan_of
from securetune.report.tables import percent
from securetune.scan.scanner import Scanner
from securetune.scan.signals import SIGNALS
from securetune.testbed.build import resolve
from securetune.testbed.demo import demo_settings
from securetune.train.sft import Tuning, fine_tune

PERTURBATIONS = ("lowrank", "tuned", "zero")
DRAWS = 3
ATTENTION = ("q", "k", "v", "o")
HALVES = 8
OF_ROBUST_SIZE = 5
QUARTERS = ("first", "second", "third", "last")
SIZE = "number of weights"
PLAIN_RUN = "plain run"
PRICES = ("margin lost", "margin lost per loss gained")
RESAMPLES = 1000


def module_sets(topology: Topology, robust: ModuleSet, seed: int) -> dict[str, ModuleSet]:
    """The sets to tune alone, by name."""
    refs = list(topology.all)
    sets = {
        "attention": [ref for ref in refs if ref.role in ATTENTION],
        "MLP": [ref for ref in refs if ref.role not in ATTENTION],
        "first half of the depth": [ref for ref in refs if ref.layer < topology.layers / 2],
        "second half of the depth": [ref for ref in refs if ref.layer >= topology.layers / 2],
    }
    for i in range(HALVES):
        sets[f"random half {i + 1}"] = random.Random(100 * seed + i).sample(refs, len(refs) // 2)
    sets |= {"robust": list(robust), "all but robust": list(topology.all - robust)}
    for i in range(OF_ROBUST_SIZE):
        sets[f"random of robust size {i + 1}"] = random.Random(100 * seed + 50 + i).sample(refs, len(robust))
    sets |= {role: [ref for ref in refs if ref.role == role] for role in topology.roles}
    for i, name in enumerate(QUARTERS):
        quarter = [ref for ref in refs if ref.layer * len(QUARTERS) // topology.layers == i]
        sets |= {f"{name} quarter": quarter, f"all but {name} quarter": [ref for ref in refs if ref not in quarter]}
    return {name: ModuleSet.of(members) for name, members in sets.items()}


def cell_config(task: str, seed: int, runs: Path) -> RunConfig:
    """The embedded model's run of one task and seed."""
    return parse_config(resolve(demo_settings(task, runs / f"{task}-{seed}", seed), seed), "the benchmark")


def assessed(
    session: Session,
    model: PreTrainedModel,
    kind: Kind,
    openings: Openings,
    before: Assessment | None = None,
) -> Assessment:
    """A model on the first benchmark of a kind."""
    return assess(
        model,
        session.base_model,
        session.tokenizer,
        [next(b for b in session.benchmarks if b.kind is kind)],
        session.config.evaluate,
        openings=openings,
        before=before,
        references=[reference(example) for example in session.examples[1]],
    )


def tuned_alone(
    session: Session, modules: ModuleSet, target: LossTarget, openings: Openings, before: Assessment
) -> dict[str, Any]:
    """Tune `modules` only, to the target; ASR on the first harmful benchmark and whether the loss was reached."""
    config = session.config
    model, (rows, held_out) = session.model_to_tune(), session.examples
    plan = plan_of("causal", PlanModel(id="testbed"), read_topology(model), modules, rest_lr_mult=0.0)
    settings = config.train.model_copy(update={"match_max_factor": 3.0, "save_every": 10_000})
    tuning = Tuning(rows=rows, held_out=held_out, target=target, seed=config.seed, plan=plan)
    with tempfile.TemporaryDirectory() as folder:
        result = fine_tune(model, session.tokenizer, tuning, settings, output=Path(folder) / "tuned")
    (harmful,) = assessed(session, model.eval(), HARMFUL, openings, before).results
    return {
        "asr": vars(harmful.rates["refusal_phrases"]),
        "steps": result.steps,
        "loss": result.task_loss,
        "reached": target.is_learned(result.task_loss),
    }


def joint_drops(scanner: Scanner, topology: Topology, sets: dict[str, ModuleSet]) -> dict[str, dict[str, float]]:
    """Mean drop of every set in every signal, at the strength calibrated on the sets themselves; and its weights."""
    strength, _ = scanner.calibrate(list(sets.values()))
    drops = {}
    for name, modules in sets.items():
        draws = [scanner.drop(modules, strength=strength, draw=i) for i in range(DRAWS)]
        drops[name] = {signal: statistics.fmean(draw[signal] for draw in draws) for signal in SIGNALS.names()}
        drops[name][SIZE] = float(sum(math.prod(topology.modules[ref].shape) for ref in modules))
    return drops


def priced(prices: dict[str, Price], sets: dict[str, ModuleSet]) -> dict[str, dict[str, float]]:
    """What every set costs in a plain run, alone and per task loss that it gains."""
    found = {}
    for name, modules in sets.items():
        cost, gain = (sum(getattr(prices[ref], of) for ref in modules.names()) for of in ("cost", "gain"))
        found[name] = dict(zip(PRICES, (cost, cost / gain), strict=True))
    return found


def cell(task: str, seed: int, runs: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What tuning each set alone does, and what the scan says of it per perturbation."""
    config = cell_config(task, seed, runs).model_copy(update={"arms": (PLAIN,)})
    with RunFolder(config.output) as folder:
        session = Session(config, folder)
        made = advance(session, "train")
        plain, topology = made.trained(PLAIN), made.topology
        sets = module_sets(topology, ModuleSet.parse(made.search.robust), seed)
        target = LossTarget(start=plain.start_loss, plain=plain.task_loss)
        journal = Journal(folder.path / f"causal-{digest(vars(target))}.journal")
        before = assessed(session, session.base_model(), BENIGN, made.openings)
        predicted = {}
        for kind in PERTURBATIONS:
            scan = config.scan.model_copy(update={"perturbation": kind, "draws": DRAWS})
            perturbing = Session(config.model_copy(update={"scan": scan}), folder)
            scanner = run_scanner(perturbing, made)
            key = digest([kind, SIGNALS.names(), {name: modules.names() for name, modules in sets.items()}])
            predicted[kind] = journal.once(key, functools.partial(joint_drops, scanner, topology, sets))
        predicted[PLAIN_RUN] = priced(module_prices(session, made), sets)
        tuned = {
            name: journal.once(
                digest(modules.names()), functools.partial(tuned_alone, session, modules, target, made.openings, before)
            )
            for name, modules in sets.items()
        }
    return tuned, predicted


def correlation(cells: Sequence[tuple[dict[str, Any], dict[str, Any]]], kind: str, signal: str, halves: bool) -> str:
    """Mean over cells of Spearman's rho between drop and ASR, with a bootstrap interval over the sets of each cell."""
    rows = []
    for tuned, predicted in cells:
        names = [name for name, outcome in tuned.items() if outcome["reached"] and (not halves or is_half(name))]
        rows.append(np.array([[predicted[kind][name][signal], tuned[name]["asr"]["value"]] for name in names]))
    rho = mean_rho(rows)
    if rho is None:
        return "no variation"
    rng = np.random.default_rng(0)
    drawn = [mean_rho([table[rng.integers(len(table), size=len(table))] for table in rows]) for _ in range(RESAMPLES)]
    low, high = np.percentile([value for value in drawn if value is not None], [2.5, 97.5])
    return f"{rho:.2f} [{low:.2f}, {high:.2f}]"


def mean_rho(tables: Sequence[np.ndarray]) -> float | None:
    """Mean rank correlation over the tables in which both columns vary; None without one."""
    rhos = [spearmanr(table).statistic for table in tables if (table.std(0) > 0).all()]
    return float(np.mean(rhos)) if rhos else None


def is_half(name: str) -> bool:
    """Whether a set holds about half the modules, so that its size does not tell it from the others."""
    return name in ("attention", "MLP") or "half" in name


def main() -> None:
    """Print two Markdown tables: ASR of every set, and the rank correlation with every prediction."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", default=["letters", "stepwise"])
    parser.add_argument("--runs", type=Path, default=Path("runs/causal"))
    options = parser.parse_args()
    cells = {task: [cell(task, seed, options.runs) for seed in options.seeds] for task in options.tasks}
    heads = " | ".join(f"{task}, seed {seed}" for task in options.tasks for seed in options.seeds)
    print(f"| tuned alone | {heads} |\n|---|" + "---|" * len(options.tasks) * len(options.seeds))
    columns = [tuned for by_seed in cells.values() for tuned, _ in by_seed]
    for name in columns[0]:
        fields = (
            percent(Estimate(**tuned[name]["asr"])) + ("" if tuned[name]["reached"] else " (loss not reached)")
            for tuned in columns
        )
        print(f"| {name} | " + " | ".join(fields) + " |")
    print("\n| task | perturbation | signal | rho, all sets | rho, halves only |\n|---|---|---|---|---|")
    for task, by_seed in cells.items():
        for kind in PERTURBATIONS:
            for signal in (*SIGNALS.names(), SIZE):
                fields = (correlation(by_seed, kind, signal, halves) for halves in (False, True))
                print(f"| {task} | {kind} | {signal} | " + " | ".join(fields) + " |")
        for price in PRICES:
            fields = (correlation(by_seed, PLAIN_RUN, price, halves) for halves in (False, True))
            print(f"| {task} | {PLAIN_RUN} | {price} | " + " | ".join(fields) + " |")


if __name__ == "__main__":
    main()
