"""Compare: a grid of models, tasks, defences, seeds and learning rates from one YAML file.

What is finished is not repeated; arms run side by side in processes of their own, here or on a cluster.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from dataclasses import dataclass
from pathlib import Path

from securetune.base.artifacts import ANALYSIS, STAGES, RunFolder, copy_atomic, write_atomic
from securetune.compare.grid import Cell, CompareConfig, cells, chosen_rates, run_configs
from securetune.compare.results import Result, collect, frontiers, summaries, to_csv, to_json, to_markdown
from securetune.compare.workers import workers
from securetune.config import RunConfig, dump_config, parse_config
from securetune.defences.base.arm import PLAIN, Arm
from securetune.defences.base.combination import Combination
from securetune.errors import SecuretuneError, TrainingError
from securetune.flow.asking import COMMITS, commit_of
from securetune.flow.pipeline import advance, wants_scan
from securetune.flow.session import Session
from securetune.models.libraries import quiet_libraries
from securetune.report.figures import pareto, svg
from securetune.report.reading import read_run
from securetune.testbed.build import resolve


def compare_runs(config: CompareConfig) -> Path:
    """Run the grid and write its tables and figures; returns its folder.

    Raises:
        SecuretuneError: a cell cannot be run at all. A run whose loss stops being finite only loses its own result.
    """
    configs = check(config)
    arms = [arm for arm in dict.fromkeys(str(Arm.parse(text)) for text in config.arms) if arm != PLAIN]
    rates = {place: dict.fromkeys(arms, config.learning_rates[0]) for place in config.places}
    with RunFolder(config.output) as root, workers(config) as pool:
        folder = Path(os.path.abspath(root.path))
        for benchmark in [b for run in configs for b in run.benchmarks]:
            commit_of(benchmark, folder)  # kept here, and copied to every cell: all read the same rows
        if len(config.learning_rates) > 1:
            tried = [f"{arm}@{rate:g}" for arm in arms for rate in config.learning_rates]
            swept = cells(config, config.sweep_seeds, dict.fromkeys(config.places, tried), config.mixed_shares[:1])
            rates = chosen_rates(_run(pool, swept, folder), rates)
        named = {place: [f"{arm}@{rate:g}" for arm, rate in chosen.items()] for place, chosen in rates.items()}
        results = _run(pool, cells(config, config.seeds, named, config.mixed_shares), folder)
        write_atomic(folder / "compare.json", to_json(results))
        write_atomic(folder / "compare.csv", to_csv(results))
        by_place = summaries(results)
        write_atomic(folder / "compare.md", to_markdown(by_place))
        for name, points in frontiers(by_place).items():
            write_atomic(folder / f"pareto-{name}.svg", svg(pareto(points)))
    return folder


def check(config: CompareConfig) -> list[RunConfig]:
    """Look at every cell's configuration and every arm now, so that a mistake shows before hours of work.

    Raises:
        SecuretuneError: the first thing that cannot be used.
    """
    runs = run_configs(config)
    for run in runs:
        for arm in config.arms:
            Combination.of(arm, run.defence)
    return runs


@dataclass(frozen=True)
class _Job:
    """A piece of work of its own: the analysis of a model and seed, plain tuning of a cell, or one arm of it."""

    cell: Cell
    arm: str | None = None
    """Plain tuning, or the arm; None for the analysis."""

    def followers(self, grid: Sequence[Cell]) -> list["_Job"]:
        """What can begin once this is done."""
        if self.arm is None:
            return [_Job(c, PLAIN) for c in grid if (c.model, c.seed) == (self.cell.model, self.cell.seed)]
        return [_Job(self.cell, arm) for arm in self.cell.arms if arm != PLAIN] if self.arm == PLAIN else []


def _run(pool: Executor, grid: Sequence[Cell], folder: Path) -> list[Result]:
    """Do all jobs of a grid side by side, each as soon as what it needs is there."""
    shared = {(cell.model, cell.seed): cell for cell in reversed(grid)}
    running = {pool.submit(_work, job, folder): job for job in map(_Job, shared.values())}
    arms_done: dict[str, set[str]] = {cell.name: set() for cell in grid}
    try:
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                if future.result():
                    arms_done[job.cell.name].add(job.arm or "")
                    running |= {pool.submit(_work, follower, folder): follower for follower in job.followers(grid)}
    except BaseException:
        for future in running:
            future.cancel()
        raise
    return [result for cell in grid for result in _results(cell, folder, arms_done[cell.name])]


def _results(cell: Cell, folder: Path, arms_done: set[str]) -> list[Result]:
    """What plain tuning and the arms of a cell came to, in the order of its configuration."""
    if PLAIN not in arms_done:
        return []  # there is nothing to compare with
    run = read_run(folder / "cells" / cell.name, arms=[arm for arm in cell.arms if arm in arms_done])
    return collect(run, model=cell.model, task=cell.task, share=cell.share, seed=cell.seed)


def _work(job: _Job, folder: Path) -> bool:
    """Do a job; False where the training it needs has failed, which takes no other arm along."""
    quiet_libraries()
    analysis = folder / "analysis" / f"{job.cell.model}-{job.cell.seed}"
    if job.arm is None:
        _adopt(analysis, folder.glob(COMMITS))
        _advance(job.cell, analysis, job.cell.arms, until="search")
        return True
    cell_folder = folder / "cells" / job.cell.name
    if job.arm == PLAIN:
        _adopt(cell_folder, _of_the_analysis(analysis))  # a stage checks what it was made from before it uses it
        _adopt(cell_folder, folder.glob(COMMITS))
        RunFolder(cell_folder).configure(dump_config(_configuration(job.cell, cell_folder, job.cell.arms)))
    try:
        _advance(job.cell, cell_folder, (job.arm,), until="evaluate")
    except TrainingError as error:
        sys.stderr.write(f"{error} Left out of the comparison.\n")
        return False
    sys.stderr.write(f"{job.cell.name} {job.arm}: done\n")
    return True


def _of_the_analysis(folder: Path) -> Iterator[Path]:
    """The files that the stages of the analysis have left."""
    stored = RunFolder(folder)
    for stage in STAGES[: STAGES.index("search") + 1]:
        yield from folder.glob(f"{stored.file(stage, suffix='').name}*")


def _adopt(folder: Path, files: Iterable[Path]) -> None:
    """Copy the files that a run folder does not have yet, artifacts after their companions."""
    RunFolder(folder)
    for file in sorted(files, key=lambda file: file.suffix == ".json"):
        if file.is_file() and not (folder / file.name).exists():
            copy_atomic(file, folder)


def _configuration(cell: Cell, output: Path, arms: Sequence[str]) -> RunConfig:
    """The cell as a run of some arms."""
    settings = {**cell.settings, "output": str(output), "arms": [PLAIN, *arms]}
    return parse_config(resolve(settings, cell.seed), cell.name)


def _advance(cell: Cell, output: Path, arms: Sequence[str], *, until: str) -> None:
    """Do the stages of some arms; jobs of one cell share its folder, and wait for one another artifact by artifact."""
    try:
        with RunFolder(output, locks=False) as folder:
            session = Session(_configuration(cell, output, arms), folder)
            session.check()
            advance(session, until if until not in ANALYSIS or wants_scan(session) else "features")
    except SecuretuneError as error:
        error.args = (f"{cell.name}: {error}",)
        raise
