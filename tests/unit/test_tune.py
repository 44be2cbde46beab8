"""Which run answers `tune MODEL ROWS`, and what is refused before any work?"""

import json
import sys
from pathlib import Path

import pytest
import yaml

from securetune.cli import entry
from securetune.config import parse_config
from securetune.doors.tune import Request, check_request, keep_settings, tune_settings
from securetune.errors import ConfigError, DataError


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Say {n}.", "completion": f"{n}!"}) + "\n" for n in range(100)))
    return str(path)


@pytest.fixture
def asked(rows, tmp_path, model_folder):
    return lambda **other: Request(**{"model": str(model_folder), "rows": rows, "output": tmp_path / "out"} | other)


def test_steps_are_epochs_over_what_is_not_held_out(asked):
    settings = tune_settings(asked(epochs=2.0))
    assert settings["task"]["test_rows"] == 20
    assert settings["train"]["steps"] == 20  # 80 rows by 8, twice


def test_steps_follow_batches_of_another_size(asked):
    settings = tune_settings(asked(settings={"train": {"batch_size": 4, "gradient_accumulation": 4}}))
    assert settings["train"]["steps"] == 5


def test_steps_follow_a_limit_on_rows_and_rows_held_out_elsewhere(asked, rows):
    settings = tune_settings(asked(settings={"task": {"train": {"limit": 40}, "test": {"path": rows}}}))
    assert settings["train"]["steps"] == 5


def test_a_setting_of_ones_own_is_kept(asked):
    settings = tune_settings(asked(settings={"train": {"steps": 3, "learning_rate": 1e-5}, "task": {"test_rows": 15}}))
    config = parse_config(settings, "it")
    assert (config.train.steps, config.train.learning_rate, config.task.test_rows) == (3, 1e-5, 15)


def test_a_setting_refines_the_model_and_the_prompts_that_are_there_by_default(asked):
    settings = tune_settings(asked(settings={"model.dtype": "float32", "analysis.malicious.limit": 48}))
    config = parse_config(settings, "tune")
    assert (config.model.path, config.model.dtype) == (asked().model, "float32")
    assert (config.analysis.malicious.half, config.analysis.malicious.limit) == ("even", 48)


def test_what_a_dry_run_prints_is_what_run_reads(monkeypatch, capsys, rows, model_folder):
    words = ["tune", str(model_folder), rows, "--dry-run", "--defence", "ml_lr", "-s", "train.steps=4"]
    monkeypatch.setattr(sys, "argv", ["securetune", *words])
    with pytest.raises(SystemExit) as ended:
        entry()
    assert not ended.value.code
    config = parse_config(yaml.safe_load(capsys.readouterr().out), "it")
    assert config.arms == ("ml_lr",) and config.train.steps == 4 and config.task.train.path == rows


def test_the_default_brings_its_own_safe_answers(asked):
    settings = tune_settings(asked())
    assert settings["safety"] == "self" and settings["arms"] == ["safe_grad"]
    assert tune_settings(asked(safety="mine.jsonl"))["safety"] == {"path": "mine.jsonl"}


def test_what_was_begun_goes_on(asked):
    request = asked()
    settings = check_request(request)
    keep_settings(request, settings)
    assert check_request(request) == settings


def test_what_was_begun_goes_on_with_a_tracker_besides(asked):
    keep_settings(asked(), check_request(asked()))
    watched = asked(settings={"train.report_to": ["tensorboard"]})
    assert check_request(watched)["train"]["report_to"] == ["tensorboard"]


def test_another_request_does_not_take_the_place_of_one_that_was_begun(asked):
    keep_settings(asked(), check_request(asked()))
    with pytest.raises(ConfigError, match="resumed as it was begun.*Choose another --output"):
        check_request(asked(epochs=3.0))


def test_a_folder_of_something_else_is_left_alone(asked, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="found other files there"):
        check_request(asked())


def test_few_rows_are_refused(asked, tmp_path):
    few = tmp_path / "few.jsonl"
    few.write_text('{"prompt": "a", "completion": "b"}\n' * 19)
    with pytest.raises(DataError, match="at least 20 rows.*found 19"):
        tune_settings(asked(rows=str(few)))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--defence", "ema@x"], "Expected a positive factor"),
        (["--defence", "emma"], "emma"),
        (["--epochs", "0"], "not a finite number above 0"),
        (["--safety", "nowhere.jsonl"], "nowhere.jsonl"),
        (["-s", "train.setps=4"], "setps"),
        (["--budget", "2"], "less than or equal to 1"),
    ],
)
def test_nonsense_is_named(command, model_folder, rows, tmp_path, words, text):
    code, said = command("tune", model_folder, rows, "--output", tmp_path / "out", "--dry-run", *words)
    assert code == 2 and text in said
    assert not Path(tmp_path / "out").exists()
