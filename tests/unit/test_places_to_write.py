"""Nothing of anybody's is written over (a device, a model, an adapter), and nothing where nobody said."""

import os

import pytest

import securetune
from securetune.base.artifacts import RunFolder, write_atomic
from securetune.doors.check import check_settings
from securetune.doors.repair import repair_settings
from securetune.errors import ArtifactError, ConfigError, MachineError
from securetune.flow.reproduce import reproduce


def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MachineError, match="Expected to write a file at .*pipe, found a device or a pipe"):
        write_atomic(tmp_path / "pipe", "x")
    assert not (tmp_path / "pipe").is_file()


def test_a_file_without_a_name_is_told_plainly(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MachineError, match="Expected the name of a file to write, found"):
        write_atomic(type(tmp_path)(""), "x")


@pytest.mark.parametrize("file", ["config.json", "adapter_config.json"])
def test_results_are_not_put_into_a_models_folder(file, tmp_path):
    (tmp_path / file).write_text("{}")
    with pytest.raises(ArtifactError, match=f"found a model's, with {file}"):
        RunFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_a_folder_of_the_users_home_is_found_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunFolder("~/out").path == tmp_path / "out"


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["check", "model", "tuned", "--output", ""], "--output"),
        (["repair", "model", "tuned", "--output", " "], "--output"),
        (["tune", "model", "rows.jsonl", "--output="], "--output"),
        (["gate", "runs/mine", "--budgets", ""], "--budgets"),
    ],
)
def test_an_empty_word_of_a_command_line_does_not_mean_the_folder_where_one_stands(
    words, place, command, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, err = command(*words)
    assert code == 2 and err.startswith(f"Error: Expected a value after {place}, found an empty one. Write it out"), err
    assert not list(tmp_path.iterdir())


def test_an_empty_output_is_an_error_in_python_too():
    for settings in (check_settings, repair_settings):
        with pytest.raises(ConfigError, match="Expected a folder for the output, found the empty path ''. Name one"):
            settings("model", "tuned", output="")
    with pytest.raises(ConfigError, match="found the empty path"):
        securetune.tune("model", "rows.jsonl", output="")
    with pytest.raises(ConfigError, match="found the empty path"):
        reproduce("runs/mine", " ")


def test_a_repair_keeps_its_two_folders_side_by_side():
    with pytest.raises(ConfigError, match=r"Expected the folder of a repair as --output, found 'mine' under --set"):
        repair_settings("model", "tuned", settings={"output": "mine"})
    with pytest.raises(ConfigError, match=r"Expected `task` once, found it as an option and under --set"):
        repair_settings("model", "tuned", task="rows.jsonl", settings={"task": {"rows": {"path": "others.jsonl"}}})
