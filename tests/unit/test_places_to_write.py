"""Nothing of anybody's is written over: a device, a model, an adapter."""

import os

import pytest

from securetune.base.artifacts import RunFolder, write_atomic
from securetune.errors import ArtifactError, MachineError


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
