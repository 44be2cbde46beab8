"""`securetune tune` from a model and rows to an adapter, its card and its report, without a scan; and once more."""

import json
import subprocess
import sys

import pytest
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM

import securetune
from securetune.doors.timing import Pace
from securetune.errors import ConfigError
from tests.conftest import settings
from tests.e2e.test_faults import struck_in_turn
from tests.faults import Killed, draw_nothing, full, results, watch_native_writers

PACE = Pace(batch_size=8, gradient_accumulation=1, bf16=False, step_seconds=0.1)


@pytest.fixture(scope="module")
def own(model_folder, data_folder, tmp_path_factory):
    """What the tiny model needs to be otherwise: prompts that it knows, and short runs."""
    whole = settings(model_folder, data_folder, tmp_path_factory.mktemp("unused"))
    parts = {name: whole[name] for name in ("analysis", "benchmarks", "evaluate")}
    return parts | {"task": {"metric": "exact_match"}, "train": whole["train"] | {"batch_size": 8}}


def is_not_of_the_run(point: str) -> bool:
    """What happens within a run is tried where runs are."""
    return "/run/" not in point


def call(model_folder, data_folder, output, own, **other):
    return securetune.tune(str(model_folder), str(data_folder / "task.jsonl"), output=output, settings=own, **other)


def test_a_model_and_rows_are_enough(model_folder, data_folder, own, tmp_path, monkeypatch):
    output = tmp_path / "out"
    tuned = call(model_folder, data_folder, output, own, budget=1.0)
    assert tuned.arm == "safe_grad"
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_folder), tuned.folder)
    assert "SafeGrad" in (tuned.folder / "README.md").read_text(encoding="utf-8")
    page = tuned.report().read_text(encoding="utf-8")
    assert tuned.verdict.split(".")[0].split(" (")[0] in page
    assert "Every module" not in page, "nobody scanned"
    assert not list((output / "run").glob("*scan*"))
    numbers = json.loads((output / "run" / "08-evaluate-safe_grad.json").read_text(encoding="utf-8"))
    worst = max(b["rates"]["refusal_phrases"]["value"] for b in numbers["data"]["benchmarks"] if b["kind"] == "harmful")
    assert tuned.asr == worst
    assert {check.arm for check in tuned.checks} == {"safe_grad"}
    assert {check.budget for check in tuned.checks if check.what == "ASR"} <= {1.0}

    before = {path: path.stat().st_mtime_ns for path in (output / "tuned").iterdir()}
    monkeypatch.setattr("securetune.doors.tuned.pace", pytest.fail)
    again = call(model_folder, data_folder, output, own, budget=1.0)
    assert again.asr == tuned.asr
    assert {path: path.stat().st_mtime_ns for path in (output / "tuned").iterdir()} == before
    with pytest.raises(ConfigError, match="resumed as it was begun"):
        call(model_folder, data_folder, output, own, defence="none")


def test_tune_that_is_killed_at_each_of_its_own_writes_in_turn_gives_the_same(
    model_folder, data_folder, own, tmp_path, monkeypatch
):
    watch_native_writers(monkeypatch)
    draw_nothing(monkeypatch)
    monkeypatch.setattr("securetune.doors.tuned.pace", lambda config: PACE)
    whole = call(model_folder, data_folder, tmp_path / "whole", own)
    root = tmp_path / "killed"
    root.mkdir()
    points = struck_in_turn(
        lambda: call(model_folder, data_folder, root / "out", own), root, Killed, among=is_not_of_the_run
    )
    print(f"{len(points)} kills")
    assert {"rename out/tune.yaml", "rename out/pace.json", "rename out/tuned"} <= set(points)
    assert results(root / "out") == results(tmp_path / "whole")
    for file in whole.folder.glob("*.safetensors"):
        assert (root / "out" / "tuned" / file.name).read_bytes() == file.read_bytes()


def asked(model_folder, data_folder, output, own) -> list:
    """The words of the same call in a shell."""
    fields = {name: yaml.safe_dump(value, default_flow_style=True, width=10**6) for name, value in own.items()}
    overrides = [word for name, value in fields.items() for word in ("-s", f"{name}={value.strip()}")]
    budget = ["--budget", "1"]
    return ["tune", model_folder, data_folder / "task.jsonl", "--output", output, *budget, *overrides]


def test_a_disk_that_is_full_at_each_write_of_tune_in_turn_is_one_clear_line_and_costs_nothing(
    model_folder, data_folder, own, command, tmp_path, monkeypatch
):
    watch_native_writers(monkeypatch)
    draw_nothing(monkeypatch)
    monkeypatch.setattr("securetune.doors.tuned.pace", lambda config: PACE)
    whole = call(model_folder, data_folder, tmp_path / "whole", own)
    root, ends = tmp_path / "full", []
    root.mkdir()
    words = asked(model_folder, data_folder, root / "out", own)
    points = struck_in_turn(lambda: ends.append(command(*words)), root, full, among=is_not_of_the_run)
    for point, (code, text) in zip(points, ends, strict=False):
        lines = [line for line in text.splitlines() if line.startswith("Error")]
        assert code == 2 and len(lines) == 1 and "Traceback" not in text, (point, text)
        assert "Expected room on the disk for" in lines[0], (point, text)
    assert len(ends) == len(points) + 1 and ends[-1][0] in (0, 1), ends[-1]
    print(f"{len(points)} times full")
    assert {"rename out/tune.yaml", "rename out/pace.json", "rename out/tuned"} <= set(points)
    assert results(root / "out") == results(tmp_path / "whole")
    for file in whole.folder.glob("*.safetensors"):
        assert (root / "out" / "tuned" / file.name).read_bytes() == file.read_bytes()


def test_two_tunes_of_one_folder_at_once_mix_nothing(model_folder, data_folder, own, tmp_path):
    words = list(map(str, asked(model_folder, data_folder, tmp_path / "out", own)))
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "securetune", *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    told = [(process.communicate(timeout=300)[1].decode(), process.returncode) for process in both]
    for text, code in told:
        lines = [line for line in text.splitlines() if line.startswith("Error")]
        assert code in (0, 1) and not lines or code == 2 and len(lines) == 1 and "Another securetune" in lines[0], told
    assert {0, 1} & {code for _, code in told}
    again = call(model_folder, data_folder, tmp_path / "out", own, budget=1.0)
    alone = call(model_folder, data_folder, tmp_path / "alone", own, budget=1.0)
    assert again.asr == alone.asr
    for file in alone.folder.glob("*.safetensors"):
        assert (again.folder / file.name).read_bytes() == file.read_bytes()


def test_what_keeps_its_budgets_is_pushed_and_nothing_else(
    model_folder, data_folder, own, command, tmp_path, monkeypatch
):
    draw_nothing(monkeypatch)
    monkeypatch.setattr("securetune.doors.tuned.pace", lambda config: PACE)
    asked_for, pushed = [], []
    monkeypatch.setattr("securetune.report.push.check_push", asked_for.append)
    monkeypatch.setattr("securetune.report.push.push", lambda folder, repo, private: pushed.append((folder, repo)))
    words = [*asked(model_folder, data_folder, tmp_path / "out", own), "--push", "me/mine", "--private"]
    monkeypatch.setattr("securetune.doors.held.Held.is_kept", False)
    _, text = command(*words)
    assert asked_for == ["me/mine"] and not pushed
    assert (
        "Not uploaded, as a budget was not kept. All the same: hf upload me/mine" in text and "tuned --private" in text
    )
    monkeypatch.setattr("securetune.doors.held.Held.is_kept", True)
    command(*words)
    assert pushed == [(tmp_path / "out" / "tuned", "me/mine")]
