import importlib.util
import json
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def matrix(monkeypatch):
    spec = importlib.util.spec_from_file_location("matrix", ROOT / ".ci" / "matrix.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "matrix", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class Uv:
    """Answers as uv does, installs nothing."""

    def __init__(self, matrix, packages=(), broken=""):
        self.matrix, self.packages, self.broken = matrix, packages, broken

    def __call__(self, *words):
        if self.broken and "install" in words:
            raise self.matrix.InstallError(self.broken)
        return json.dumps([{"name": name, "version": version} for name, version in self.packages])


def tried(matrix, uv, monkeypatch, tmp_path, results=None, versions="oldest"):
    def pytest_run(*_, **__):
        if results is not None:
            (tmp_path / "home").mkdir()
            (tmp_path / "home" / "results.xml").write_text(results, encoding="utf-8")
        return type("Ended", (), {"returncode": 1})

    monkeypatch.setattr(matrix.subprocess, "run", pytest_run)
    return matrix.tried(uv, tmp_path / "home", matrix.Combination(python="3.12", versions=versions), [])


def test_every_direct_requirement_has_a_floor(matrix):
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert len(wanted) <= len(matrix.floors())
    assert matrix.floors()["huggingface-hub"]
    assert matrix.floors()["lm-eval"]


def test_the_parts_are_there(matrix):
    for part in matrix.PARTS:
        path, _, name = part.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8") if name else (ROOT / path).exists(), part


def test_a_combination_that_cannot_be_installed_is_named_and_is_not_bad(matrix, monkeypatch, tmp_path):
    combination = tried(matrix, Uv(matrix, broken="no wheel of torch"), monkeypatch, tmp_path)
    assert not combination.is_bad
    assert "| 3.12 | oldest |" in matrix.table([combination])
    assert "could not be installed: no wheel of torch" in matrix.table([combination])


def test_a_floor_above_which_the_resolver_went_is_bad(matrix, monkeypatch, tmp_path):
    floors = matrix.floors()
    ran = "<testsuite><testcase classname='t' name='a'/></testsuite>"
    versions = {**floors, "torch": f"{floors['torch']}.0+cpu"}
    assert not tried(matrix, Uv(matrix, versions.items()), monkeypatch, tmp_path, ran).is_bad
    versions["scipy"] = "99.1"
    combination = tried(matrix, Uv(matrix, versions.items()), monkeypatch, tmp_path, ran)
    assert combination.is_bad
    assert combination.floors_not_run == [f"scipy>={floors['scipy']} ran as 99.1"]
    assert not tried(matrix, Uv(matrix, versions.items()), monkeypatch, tmp_path, ran, "newest").is_bad


@pytest.mark.parametrize(
    "results, outcome",
    [
        (
            "<testsuite><testcase classname='t' name='a'/><testcase classname='t' name='b'><failure/></testcase>"
            "<testcase classname='t' name='c'><skipped/></testcase></testsuite>",
            "1 passed, 1 failed, 1 skipped",
        ),
        ("<testsuite><testcase classname='t' name='a'><error/></testcase></testsuite>", "0 passed, 1 failed"),
        ("<testsuite/>", "pytest ended with 1 and ran no test"),
        (None, "pytest ended with 1 and left no results"),
    ],
)
def test_failing_tests_are_bad_and_so_are_none(matrix, monkeypatch, tmp_path, results, outcome):
    combination = tried(matrix, Uv(matrix), monkeypatch, tmp_path, results, "newest")
    assert combination.is_bad
    assert outcome in matrix.table([combination])
