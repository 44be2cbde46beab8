"""Embedded benchmark: every task x seed on the embedded model, all arms at matched task loss.

    python benchmarks/embedded.py --output docs/results/embedded.json

A seed changes the embedded model itself, its prompts, the scan and the tuning. Finished cells are kept in `--runs` and
not repeated. Means over seeds carry Student's t interval; within a seed, rates carry Wilson's.
"""

import argparse
import json
from pathlib import Path

from securetune.artifacts import RunFolder, write_atomic
from securetune.config import RunConfig, parse_config
from securetune.evaluate.statistics import mean
from securetune.pipeline import run
from securetune.report.tables import Row, comparison, recovered
from securetune.testbed.build import resolve
from securetune.testbed.demo import demo_settings
from securetune.testbed.tasks import TASKS

ARMS = ("none", "early_stop", "ml_lr", "swat", "random_plan", "inverted_plan")


def cell_config(task: str, seed: int, runs: Path) -> RunConfig:
    """The whole flow of one task and seed, all arms."""
    settings = demo_settings(task, runs / f"{task}-{seed}", seed) | {"arms": list(ARMS)}
    return parse_config(resolve(settings, seed), "the benchmark")


def cell(task: str, seed: int, runs: Path) -> list[Row]:
    """One run of the whole flow; its comparison."""
    config = cell_config(task, seed, runs)
    folder = RunFolder(run(config, announce=lambda a, _: print(task, seed, a.stage, a.variant or "", flush=True)))
    evaluated, trained = ([folder.read(stage, arm) for arm in arms]
                          for stage, arms in (("evaluate", ("base", *ARMS)), ("train", ARMS)))  # fmt: skip
    return comparison(evaluated, trained)


def summary(cells: dict[str, list[list[Row]]]) -> list[str]:
    """Markdown lines: a row per task and arm, means over seeds."""
    lines = [
        "| task | model | ASR, % | over-refusal, % | task metric, % | loss vs IFT, % | rise taken back, % | matched |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task, seeds in cells.items():
        for i, arm in enumerate(("base", *ARMS)):
            rows = [rows[i] for rows in seeds]
            shares = [s for rows in seeds if (s := recovered(rows, rows[i])) is not None]
            fields = [
                _mean([row.headline("harmful")["value"] for row in rows]),
                _mean([row.headline("benign")["value"] for row in rows]),
                _mean([row.score["value"] for row in rows]) if rows[0].score else "–",
                _mean([row.loss_ratio - 1 for row in rows]) if arm != "base" else "–",
                f"{_mean(shares)} (n={len(shares)})" if shares else "–",
                "–" if arm in ("base", "none") else f"{sum(bool(row.matched) for row in rows)} of {len(rows)}",
            ]
            lines.append(f"| {task} | {rows[0].title} | " + " | ".join(fields) + " |")
    return lines


def by_seed(cells: dict[str, list[list[Row]]]) -> list[str]:
    """Markdown lines: ASR of every arm and seed, with the share of IFT's rise that is taken back."""
    seeds = len(next(iter(cells.values())))
    head = " | ".join(f"run {i}: ASR, % (taken back)" for i in range(seeds))
    lines = [f"| task | model | {head} |", "|---|---|" + "---|" * seeds]
    for task, found in cells.items():
        for i, arm in enumerate(("base", *ARMS)):
            fields = []
            for rows in found:
                share = None if arm == "none" else recovered(rows, rows[i])
                asr = 100 * rows[i].headline("harmful")["value"]
                fields.append(f"{asr:.1f}" if share is None else f"{asr:.1f} ({100 * share:+.0f} %)")
            lines.append(f"| {task} | {found[0][i].title} | " + " | ".join(fields) + " |")
    return lines


def _mean(values: list[float]) -> str:
    found = mean(values)
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def main() -> None:
    """Run all cells and write JSON and a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--runs", type=Path, default=Path("runs/embedded"))
    parser.add_argument("--output", type=Path, default=Path("docs/results/embedded.json"))
    options = parser.parse_args()
    cells = {task: [cell(task, seed, options.runs) for seed in options.seeds] for task in options.tasks}
    plain = {task: [[vars(row) for row in rows] for rows in seeds] for task, seeds in cells.items()}
    write_atomic(options.output, json.dumps(plain, indent=1))
    lines = [*summary(cells), "", *by_seed(cells)]
    write_atomic(options.output.with_suffix(".table.md"), "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
