"""Compare: a grid of models, tasks, defences, seeds and learning rates from one YAML file.

Finished cells are not repeated; cells run side by side in processes of their own.
"""

import multiprocessing
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from securetune.base.artifacts import RunFolder, write_atomic
from securetune.compare.grid import Cell, CompareConfig, cells, chosen_rates
from securetune.compare.results import Result, collect, frontiers, summaries, to_csv, to_json, to_markdown
from securetune.config import RunConfig, parse_config
from securetune.defences.base.arm import PLAIN, Arm
from securetune.defences.base.combination import Combination
from securetune.errors import SecuretuneError, TrainingError
from securetune.flow.pipeline import run
from securetune.flow.session import COMMITS, commit_of
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
    with RunFolder(config.output) as root, _pool(config) as pool:
        folder = root.path
        for benchmark in [b for found in configs for b in found.benchmarks]:
            commit_of(benchmark, folder)  # kept here, and copied to every cell: all read the same rows
        if len(config.learning_rates) > 1:
            tried = [f"{arm}@{rate:g}" for arm in arms for rate in config.learning_rates]
            swept = cells(config, config.sweep_seeds, dict.fromkeys(config.places, tried), config.mixed_shares[:1])
            rates = chosen_rates(_run(pool, swept, folder), rates)
        named = {place: [f"{arm}@{rate:g}" for arm, rate in found.items()] for place, found in rates.items()}
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
    found: list[RunConfig] = []
    for cell in cells(config, config.seeds[:1], dict.fromkeys(config.places, config.arms), config.mixed_shares):
        found.append(parse_config({**cell.settings, "output": config.output}, cell.name))
        for arm in config.arms:
            Combination.of(arm, found[-1].defence)
    return found


@contextmanager
def _pool(config: CompareConfig) -> Iterator[ProcessPoolExecutor]:
    """Processes that start afresh, each with its share of threads."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(config.threads)
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(config.workers, mp_context=context, initializer=_end_with_parent) as pool:
            yield pool
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _end_with_parent() -> None:
    """Let this process end as soon as the one that started it has, however that ended; what is unfinished resumes."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _run(pool: ProcessPoolExecutor, grid: Sequence[Cell], folder: Path) -> list[Result]:
    """Run cells side by side: first what the cells of a model and seed share, then every cell."""
    shared = {(cell.model, cell.seed): cell for cell in reversed(grid)}
    for analysis in as_completed([pool.submit(_analyse, cell, folder) for cell in shared.values()]):
        analysis.result()
    jobs = [pool.submit(_tune, cell, folder) for cell in grid]
    for job in as_completed(jobs):
        job.result()
    return [result for job in jobs for result in job.result()]


def _analysis(cell: Cell, folder: Path) -> Path:
    return folder / "analysis" / f"{cell.model}-{cell.seed}"


def _analyse(cell: Cell, folder: Path) -> None:
    own = _analysis(cell, folder)
    _adopt(own, folder.glob(COMMITS))
    _stages(cell, own, (), until="search")


def _tune(cell: Cell, folder: Path) -> list[Result]:
    """Run a cell arm by arm, so that one that fails does not take the others along."""
    own = folder / "cells" / cell.name
    _adopt(own, _analysis(cell, folder).glob("0[1-5]-*"))  # a stage checks what it was made from before it uses it
    _adopt(own, folder.glob(COMMITS))
    done = []
    for arm in cell.arms or (PLAIN,):
        try:
            _stages(cell, own, (arm,), until="evaluate")
        except TrainingError as error:
            sys.stderr.write(f"{error} Left out of the comparison.\n")
        else:
            done.append(arm)
            sys.stderr.write(f"{cell.name} {arm}: done\n")
    finished = read_run(RunFolder(own), arms=done)
    return collect(finished, model=cell.model, task=cell.task, share=cell.share, seed=cell.seed)


def _adopt(own: Path, stored: Iterable[Path]) -> None:
    """Copy the files that a run folder does not have yet."""
    own.mkdir(parents=True, exist_ok=True)
    for file in stored:
        if file.is_file() and not (own / file.name).exists():
            shutil.copy2(file, own)


def _stages(cell: Cell, output: Path, arms: Sequence[str], *, until: str) -> None:
    quiet_libraries()
    settings = {**cell.settings, "output": str(output), "arms": [PLAIN, *arms]}
    try:
        run(parse_config(resolve(settings, cell.seed), cell.name), until=until)
    except SecuretuneError as error:
        error.args = (f"{cell.name}: {error}",)
        raise
