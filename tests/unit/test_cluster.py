"""A comparison on a Dask cluster finds what it finds here, and a worker that is killed costs nothing."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from securetune.compare.grid import CompareConfig
from securetune.compare.run import compare_runs
from securetune.config import validated
from securetune.errors import ConfigError
from tests.conftest import settings

distributed = pytest.importorskip("distributed")


@pytest.fixture
def grid(model_folder, data_folder, tmp_path):
    raw = settings(model_folder, data_folder, tmp_path)
    del raw["output"]

    def config(name, **where):
        given = {"output": str(tmp_path / name), "run": raw, "tasks": {"letters": {}}, "seeds": [0],
                 "arms": ["early_stop", "ema + early_stop"], **where}  # fmt: skip
        return validated(CompareConfig, given, "test")

    return config


def results(folder):
    rows = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    return [{name: value for name, value in row.items() if name not in ("step_seconds", "memory")} for row in rows]


def test_two_workers_of_which_one_is_killed_find_what_processes_here_find(grid, tmp_path):
    expected = results(compare_runs(grid("here")))
    killed = []

    def kill_who_trains(cluster):
        while not list((tmp_path / "there").glob("cells/*/.07-train-none*")):
            time.sleep(0.05)
        with distributed.Client(cluster.scheduler_address) as client:
            busy = next(address for address, tasks in client.processing().items() if tasks)
            killed.append(client.run(os.getpid, workers=[busy])[busy])
            os.kill(killed[0], signal.SIGKILL)

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        killer = threading.Thread(target=kill_who_trains, args=[cluster], daemon=True)
        killer.start()
        found = results(compare_runs(grid("there", executor="dask", address=cluster.scheduler_address)))
        killer.join(timeout=10)
    assert killed and found == expected


@pytest.mark.parametrize("given", [{"executor": "dask"}, {"address": "tcp://127.0.0.1:1"}])
def test_a_cluster_and_its_address_come_together(given, grid):
    with pytest.raises(ConfigError, match="give `address`, the scheduler's, with `executor: dask`"):
        grid("out", **given)


def test_a_scheduler_that_is_not_there_is_an_error_that_says_how_to_start_one(grid, monkeypatch):
    monkeypatch.setattr("securetune.compare.workers._CONNECTING", "1s")
    with pytest.raises(ConfigError, match="Expected a Dask scheduler at tcp://127.0.0.1:1, found: .*dask scheduler"):
        compare_runs(grid("out", executor="dask", address="tcp://127.0.0.1:1"))


def test_dask_that_is_not_installed_is_an_error_that_says_what_to_install(grid, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"Install securetune\[dask\]"):
        compare_runs(grid("out", executor="dask", address="tcp://127.0.0.1:1"))
