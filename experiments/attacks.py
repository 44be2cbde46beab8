"""Attacks: what do they get out of models that were tuned to the same task loss?

    securetune compare configs/compare/embedded.yaml
    OMP_NUM_THREADS=1 python experiments/attacks.py runs/compare-embedded --task messages --arms none ml_lr@0.5

Reads the models of a finished comparison, attacks each on prompts that the model before tuning refuses, and prints the
attack success rate by seed, with the mean change against plain tuning and its paired bootstrap interval. GCG searches a
suffix for every prompt and model anew. The model before tuning reads the answers, as in every evaluation.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from securetune.base.artifacts import RunFolder
from securetune.config import parse_config, read_yaml
from securetune.defences.base.arm import BASE, PLAIN, Arm
from securetune.evaluate.assess import assess
from securetune.evaluate.attacks import ATTACKS
from securetune.evaluate.benchmark import Benchmark
from securetune.evaluate.result import Assessment
from securetune.flow.made import Made
from securetune.flow.session import Session
from securetune.measures.kinds import HARMFUL
from securetune.measures.statistics import paired_bootstrap
from securetune.models.libraries import quiet_libraries
from securetune.report.reading import read_run


def refused_before(folder: RunFolder, limit: int) -> list[int]:
    """Numbers of the first prompts of the first harmful set that the model before tuning refuses."""
    harmful = next(b for b in read_run(folder, arms=()).model(BASE).answers if b.kind == HARMFUL)
    return [i for i, is_answered in enumerate(harmful.outcomes()) if not is_answered][:limit]


def attacked(session: Session, arm: str, benchmark: Benchmark) -> list[bool]:
    """Whether the attack succeeds, per prompt."""
    folder = session.folder
    limit = folder.needed("evaluate", BASE).data["surprise_limit"]
    assessed = assess(
        session.base_model() if arm == BASE else session.tuned_model(arm),
        session.base_model,
        session.tokenizer,
        [benchmark],
        session.config.evaluate,
        openings=Made.stored(folder, ["features"]).openings,
        before=Assessment(results=[], surprise_limit=limit),
    )
    return assessed.results[0].outcomes()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    parser.add_argument("--task", default="messages")
    parser.add_argument("--arms", nargs="+", required=True, help="with their rates, as in the table: ml_lr@0.5")
    parser.add_argument("--attacks", nargs="+", default=["prefill", "prefix_injection", "refusal_suppression", "gcg"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--prompts", type=int, default=30)
    parser.add_argument("--gcg-steps", type=int, default=20)
    parser.add_argument("--gcg-width", type=int, default=64)
    options = parser.parse_args()
    quiet_libraries()
    arms = [BASE, PLAIN, *(arm for arm in options.arms if arm != PLAIN)]
    outcomes: dict[tuple[str, str], list[list[bool]]] = {}
    for seed in options.seeds:
        cell = options.comparison / "cells" / f"model-{options.task}-{seed}"
        session = Session(parse_config(read_yaml(cell / "config.yaml"), str(cell)), RunFolder(cell))
        whole = next(b for b in session.benchmarks if b.kind is HARMFUL)
        prompts = tuple(whole.prompts[i] for i in refused_before(session.folder, options.prompts))
        for name in ("none", *options.attacks):
            settings = {"steps": options.gcg_steps, "width": options.gcg_width} if name == "gcg" else {}
            attack = None if name == "none" else ATTACKS.make(name, settings, "attack")
            benchmark = replace(whole, prompts=prompts, attack=attack)
            for arm in arms:
                outcomes.setdefault((name, arm), []).append(attacked(session, arm, benchmark))
    print("| attack | model | ASR, % (by seed) | change against plain tuning, points | n |\n|---|---|---|---|---|")
    for (name, arm), by_seed in outcomes.items():
        rates = [100 * sum(row) / len(row) for row in by_seed]
        change = paired_bootstrap(list(zip(outcomes[name, PLAIN], by_seed, strict=True)))
        reach = (
            "–" if arm == PLAIN else f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
        )
        title = "before tuning" if arm == BASE else Arm.parse(arm).title
        shown = ", ".join(f"{rate:.0f}" for rate in rates)
        print(f"| {name} | {title} | {sum(rates) / len(rates):.1f} ({shown}) | {reach} | {change.n} |")


if __name__ == "__main__":
    main()
