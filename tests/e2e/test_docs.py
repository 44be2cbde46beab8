"""Every code block of the documentation is run, and the site is built without a warning."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.conftest import add_plug_ins, write_jsonl

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(page for page in DOCS.rglob("*.md") if DOCS / "results" not in page.parents)
RUNNABLE = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


def run_shell(text, folder):
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    found = subprocess.run(
        ["bash", "-e", "-c", text], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr


def written(text, folder):
    """The file that a block's first line names, written; else None."""
    named = re.match(r"(?:{# file: (\S+) #}|# file: (\S+))\n", text)
    if named is None:
        return None
    path = folder / (named[1] or named[2])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.split("\n", 1)[1], encoding="utf-8")
    return path


@pytest.fixture
def place(tmp_path, model_folder, data_folder, monkeypatch):
    """A folder with what the pages speak of; a file written there can be imported."""
    shutil.copytree(model_folder, tmp_path / "my-model")
    shutil.copy(data_folder / "task.jsonl", tmp_path / "rows.jsonl")
    for kind in ("harmful", "benign"):
        shutil.copy(data_folder / f"{kind}.jsonl", tmp_path)
    harmful = [json.loads(line)["prompt"] for line in (tmp_path / "harmful.jsonl").read_text().splitlines()]
    write_jsonl(tmp_path / "goals.jsonl", [{"Goal": prompt} for prompt in harmful])
    (tmp_path / "data").mkdir()
    shutil.copy(tmp_path / "harmful.jsonl", tmp_path / "data/advbench.jsonl")
    for package in ("scan.signals", "report.sections"):
        add_plug_ins(monkeypatch, package, tmp_path / package.replace(".", "/"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_block_of_a_page_runs(page, place):
    names = {}
    if page.name in ("axolotl.md", "gate.md", "preflight.md"):  # they go on from the page before
        (own,) = [text for kind, text in blocks(DOCS / "how-to/own-trainer.md") if kind == "yaml"]
        written(own, place)
    for kind, text in blocks(page):
        file = written(text, place)
        if kind == "sh":
            run_shell(text, place)
        elif kind == "yaml":
            assert yaml.safe_load(text)
        elif kind in ("text", "console"):
            continue  # a picture in letters; a command that needs hours or several GPUs
        elif kind == "toml":
            assert tomllib.loads(text)
        elif kind == "python" and file is None:
            exec(compile(text, str(page), "exec"), names)
        else:
            assert kind == "python" or (kind == "html" and file is not None), f"no way to check a block of {kind}"


def blocks(page):
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert not re.findall("^WARNING.*", found.stderr, re.MULTILINE)
    assert (tmp_path / "tutorial/index.html").exists()
