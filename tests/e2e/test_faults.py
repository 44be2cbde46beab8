"""Faults of the machine: killed or out of room at every write, a run goes on to the same results."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from securetune.base.artifacts import STAGES
from securetune.compare.grid import CompareConfig
from securetune.compare.run import compare_runs
from securetune.config import parse_config, validated
from securetune.flow.pipeline import run
from tests.conftest import settings
from tests.faults import Faults, Killed, draw_nothing, every_state, full, results, watch_native_writers

ROOT = Path(__file__).parents[2]


@pytest.fixture
def watched(monkeypatch):
    watch_native_writers(monkeypatch)
    draw_nothing(monkeypatch)


@pytest.fixture(scope="module")
def raw(model_folder, data_folder):
    """A run that keeps a checkpoint of its training."""
    small = settings(model_folder, data_folder, Path("unset")) | {"arms": ["none"], "monitor_every": 0}
    small["train"] |= {"save_every": 2}
    for benchmark in small["benchmarks"]:
        benchmark["limit"] = 4
    return small


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory):
    """The folder of a run that nothing happened to."""
    return run(parse_config(raw | {"output": str(tmp_path_factory.mktemp("whole") / "run")}, "test"))


def struck_in_turn(start, root: Path, error, *, among=lambda point: True) -> list[str]:
    """Start again and again, each time struck at the first point that was not yet struck, until it comes through."""
    points: list[str] = []
    while True:
        with Faults(root, lambda point: error() if among(point) and point not in points else None) as faults:
            with suppress(Killed):
                start()
            if faults.struck is None:
                return points
        points.append(faults.struck)


def cheap(point: str) -> bool:
    """The renames of every stage, one file cut in half, and the first removals at the end of training."""
    what, path = point.split()
    if ".partial/" in path:
        return "checkpoint" in path and path.endswith(("model.safetensors", "README.md")) and what in ("half", "remove")
    return what in ("rename", "half") and not path.endswith((".html", ".md", ".csv", ".tex"))


EVERY = pytest.param(lambda point: True, id="all", marks=pytest.mark.exhaustive)
SOME = pytest.param(cheap, id="cheap")


@pytest.mark.parametrize("among", [SOME, EVERY])
def test_a_run_that_is_killed_at_each_of_its_writes_in_turn_finds_the_same(among, raw, whole, watched, tmp_path):
    config = parse_config(raw | {"output": str(tmp_path / "run")}, "test")
    points = struck_in_turn(lambda: run(config), tmp_path, Killed, among=among)
    assert results(tmp_path / "run") == results(whole)
    assert len(points) > 12 and {"rename", "remove", "half"} <= {point.split()[0] for point in points}
    print(f"{len(points)} kills")


def struck_stage(folder: Path, whole: Path) -> str:
    """The stage that a kill has stopped; what comes after it is made of equal artifacts, so need not be done again."""
    for number, stage in enumerate(STAGES):
        artifacts = [file.name for file in whole.glob(f"{number:02d}-{stage}*.json")]
        if not all((folder / name).exists() for name in artifacts):
            return stage
    return STAGES[-1]


@pytest.mark.exhaustive
def test_a_run_goes_on_from_everything_that_a_kill_can_leave_on_the_disk(raw, whole, watched, tmp_path):
    folder, top = tmp_path / "run", tmp_path / "states"
    config = parse_config(raw | {"output": str(folder)}, "test")
    top.mkdir()
    found_whole = results(whole)
    states = every_state(lambda: run(config), folder, top)
    for state in states:
        shutil.rmtree(folder)
        shutil.copytree(state, folder)
        struck = struck_stage(folder, whole)
        run(config, until=struck)
        last = STAGES.index(struck)
        assert results(folder) == {key: found for key, found in found_whole.items() if int(key[:2]) <= last}, state.name
    assert len(states) > 200
    print(f"{len(states)} states that a kill can leave")


@pytest.mark.parametrize("among", [SOME, EVERY])
def test_a_disk_that_is_full_is_one_clear_line_and_costs_nothing(among, raw, whole, watched, command, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(raw | {"output": str(tmp_path / "run")}))
    said: list[tuple[int, str]] = []
    points = struck_in_turn(lambda: said.append(command("run", file)), tmp_path / "run", full, among=among)
    for point, (code, text) in zip(points, said, strict=False):
        lines = [line for line in text.splitlines() if line.startswith("Error")]
        assert code == 2 and len(lines) == 1 and "Traceback" not in text, (point, text)
        assert "Expected room on the disk for" in lines[0] and "what is finished is kept" in lines[0], (point, text)
    assert len(said) == len(points) + 1 and said[-1][0] == 0
    assert results(tmp_path / "run") == results(whole)
    print(f"{len(points)} times full")


@pytest.mark.parametrize(
    "sizes", [(40, 3_000, 40_000), pytest.param(range(0, 60_000, 1_500), marks=pytest.mark.exhaustive)]
)
def test_a_file_that_is_cut_off_by_a_full_disk_is_one_clear_line_and_costs_nothing(
    sizes, raw, whole, command, tmp_path
):
    """The system itself stops every write at a size; nothing stands in for it here."""
    file, ends = tmp_path / "run.yaml", []
    file.write_text(yaml.safe_dump(raw | {"output": str(tmp_path / "run")}))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in sizes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            code, text = command("evaluate", file)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        lines = [line for line in text.splitlines() if line.startswith("Error")]
        if code:
            assert code == 2 and len(lines) == 1 and "Traceback" not in text, (size, text)
            assert "Expected room on the disk for" in lines[0], (size, text)
        ends.append(code)
    assert command("evaluate", file)[0] == 0
    assert results(tmp_path / "run") == results(whole)
    assert ends.count(2) > 1
    print(f"{ends.count(2)} files cut off")


class Here:
    """A pool that does its jobs at once, in this process."""

    def submit(self, work, *arguments):
        future: Future = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, **_):
        pass


@contextmanager
def _here(_config):
    yield Here()


@pytest.fixture
def comparison(raw, monkeypatch):
    monkeypatch.setattr("securetune.compare.run.workers", _here)
    shared = {name: value for name, value in raw.items() if name not in ("output", "arms", "task")}

    def config(output):
        grid = {"output": str(output), "run": shared, "tasks": {"letters": {"task": raw["task"]}},
                "arms": ["early_stop"], "seeds": [0]}  # fmt: skip
        return validated(CompareConfig, grid, "test")

    return config


def of_the_grid(point: str) -> bool:
    """Every point but those inside a training or a single measurement, which a run has tried."""
    return ".partial/" not in point and ".answers-" not in point


def table(folder: Path) -> list[dict]:
    rows = json.loads((folder / "compare.json").read_text())
    return [{name: value for name, value in row.items() if name != "step_seconds"} for row in rows]


@pytest.mark.exhaustive
def test_a_comparison_that_is_killed_at_its_writes_in_turn_finds_the_same(comparison, watched, tmp_path):
    expected = compare_runs(comparison(tmp_path / "whole"))
    grid = comparison(tmp_path / "grid")
    points = struck_in_turn(lambda: compare_runs(grid), tmp_path / "grid", Killed, among=of_the_grid)
    assert table(tmp_path / "grid") == table(expected)
    cell = "cells/model-letters-0"
    assert results(tmp_path / "grid" / cell) == results(expected / cell)
    assert len(points) > 60
    print(f"{len(points)} kills of a comparison")


MOMENTS = ["'rename 07-train-none' in point", "'checkpoint-2/optimizer.pt' in point"]
FROM_BEGIN_TO_END = [f"len(faults.points) == {number}" for number in range(1, 150, 15)]


@pytest.mark.parametrize(
    "moment", [*MOMENTS, *(pytest.param(moment, marks=pytest.mark.exhaustive) for moment in FROM_BEGIN_TO_END)]
)
def test_a_true_kill_9_costs_nothing(moment, raw, whole, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(raw | {"output": str(tmp_path / "run")}))
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from securetune.cli import entry; from tests.faults import Faults\n"
        f"strike = lambda point: os.kill(os.getpid(), signal.SIGKILL) if {moment} else None\n"
        f"sys.argv = ['securetune', 'run', {str(file)!r}]\n"
        f"faults = Faults(Path({str(tmp_path / 'run')!r}), strike)\n"
        "with faults: entry()"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert results(run(parse_config(yaml.safe_load(file.read_text()), "test"))) == results(whole)
