"""Places that the machine refuses, and folders that somebody else works in: one clear line, and nothing is lost."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from securetune.config import parse_config
from securetune.errors import SecuretuneError
from securetune.flow.pipeline import run
from securetune.plans.plan import Entry, Plan, PlanModel
from securetune.report.gate import Budgets, check
from securetune.report.reading import read_run
from tests.conftest import settings, write_jsonl
from tests.faults import results

ROOT = Path(__file__).parents[2]


@contextmanager
def read_only(folder: Path):
    """The folder cannot be written to; root, whom permissions do not bind, gets it mounted read-only."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    mounts = (["mount", "--bind", folder, folder], ["mount", "-o", "remount,ro,bind", folder])
    if any(subprocess.run(mount, capture_output=True).returncode for mount in mounts):
        pytest.skip("needs a user whom permissions bind, or the right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def raw(model_folder, data_folder):
    small = settings(model_folder, data_folder, Path("unset")) | {"arms": ["none"], "monitor_every": 0}
    for benchmark in small["benchmarks"]:
        benchmark["limit"] = 4
    return small


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "run"
    return run(parse_config(raw | {"output": str(output)}, "test"), until="evaluate")


def write(folder: Path, raw: dict, output: Path) -> Path:
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(raw | {"output": str(output)}))
    return file


def the_line(code: int, text: str) -> str:
    """The one line of an error."""
    lines = [line for line in text.splitlines() if line.startswith("Error")]
    assert code == 2 and len(lines) == 1 and "Traceback" not in text, text
    return lines[0]


OUTPUTS = {
    "gate": ["gate", "{run}", "--budgets", "{budgets}", "--json", "{out}/gate.json"],
    "gate for CI": ["gate", "{run}", "--budgets", "{budgets}", "--junit", "{out}/gate.xml"],
    "publish": ["publish", "{run}", "none", "{out}/published"],
    "export": ["export", "{plan}", "--to", "lora", "--model", "{model}", "--output", "{out}/plan.yaml"],
    "plan-from-list": ["plan-from-list", "{list}", "--model", "{model}", "--output", "{out}/plan.json"],
    "new": ["new", "demo", "{out}/run.yaml"],
    "a new run": ["run", "{config}"],
    "reproduce": ["reproduce", "{run}", "--output", "{out}/again"],
}


@pytest.mark.parametrize("what", OUTPUTS)
def test_an_output_that_may_not_be_written_is_named(what, raw, whole, model_folder, command, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    Plan(method="x", model=PlanModel(id="x"), entries=(Entry(pattern="q_proj"),)).save(tmp_path / "plan.json")
    (tmp_path / "list.yaml").write_text("[0]")
    (tmp_path / "budgets.yaml").write_text("arms: [none]")
    places = {
        "run": whole,
        "out": out,
        "plan": tmp_path / "plan.json",
        "list": tmp_path / "list.yaml",
        "budgets": tmp_path / "budgets.yaml",
        "model": model_folder,
        "config": write(tmp_path, raw, out / "run"),
    }
    before = results(whole)
    with read_only(out):
        line = the_line(*command(*(word.format(**places) for word in OUTPUTS[what])))
    assert f"Expected to be allowed to write {out}" in line and "Read-only" in line or "ermission" in line, line
    assert results(whole) == before and not list(out.iterdir())


@pytest.mark.parametrize("stage", ["run", "report"])
def test_a_run_folder_that_may_not_be_written_keeps_what_it_has(stage, raw, whole, command, tmp_path):
    file, folder = write(tmp_path, raw, tmp_path / "run"), tmp_path / "run"
    assert command("search", file)[0] == 0
    with read_only(folder):
        line = the_line(*command(stage, file))
    assert f"Expected to be allowed to write {folder}" in line and "what is finished is kept" in line
    assert command("evaluate", file)[0] == 0
    assert results(folder) == results(whole)


def test_a_gate_needs_no_right_to_write(whole):
    with read_only(whole):
        assert check(read_run(whole), Budgets(arms=("none",)))


@pytest.mark.parametrize(("kind", "count"), [("malicious", 0), ("malicious", 1), ("benign", 0), ("benign", 1)])
def test_too_few_prompts_of_a_kind_are_named_before_a_model_is_loaded(kind, count, raw, command, tmp_path, monkeypatch):
    def loaded(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("securetune.flow.asking.load_model", loaded)
    few = write_jsonl(tmp_path / "few.jsonl", [{"prompt": "How do I boil an egg?"}] * count)
    analysis = raw["analysis"] | {kind: {"path": str(few)}}
    line = the_line(*command("run", write(tmp_path, raw | {"analysis": analysis}, tmp_path / "run")))
    expected = f"Expected at least 2 {kind} prompts" if count else f"{few}"
    assert expected in line and "found" in line, line


def started(*words: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "securetune", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=ROOT,
    )  # fmt: skip


def test_two_runs_of_one_folder_and_a_gate_beside_them_mix_nothing(raw, whole, tmp_path):
    file, folder = write(tmp_path, raw, tmp_path / "run"), tmp_path / "run"
    both = [started("evaluate", file) for _ in range(2)]
    while any(process.poll() is None for process in both):
        time.sleep(0.1)
        with suppress(SecuretuneError):
            check(read_run(folder), Budgets(arms=("none",)))
    for process in both:
        _, text = process.communicate()
        if process.returncode:
            assert "Another securetune process is working in" in the_line(process.returncode, text)
    assert 0 in [process.returncode for process in both]
    assert results(folder) == results(whole)
    assert check(read_run(folder), Budgets(arms=("none",))) == check(read_run(whole), Budgets(arms=("none",)))


@pytest.mark.exhaustive
def test_two_comparisons_of_one_folder_mix_nothing(raw, tmp_path):
    shared = {name: value for name, value in raw.items() if name not in ("output", "arms", "task")}
    grid = {"run": shared, "tasks": {"letters": {"task": raw["task"]}}, "arms": ["early_stop"], "seeds": [0]}
    cell = "cells/model-letters-0"
    for folder, processes in (("alone", 1), ("both", 2)):
        file = tmp_path / f"{folder}.yaml"
        file.write_text(yaml.safe_dump(grid | {"output": str(tmp_path / folder)}))
        running = [started("compare", file) for _ in range(processes)]
        told = [process.communicate()[1] for process in running]
        ends = [process.returncode for process in running]
        for code, text in zip(ends, told, strict=True):
            if code:
                assert "Another securetune process is working in" in the_line(code, text)
        assert 0 in ends
    assert results(tmp_path / "both" / cell) == results(tmp_path / "alone" / cell)
