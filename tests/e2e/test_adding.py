"""Adding one of each to a copy of the package touches one file each (a stage: its place in the order, too)."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import settings

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/securetune"

NEW = {
    "defences/patient.py": '''
"""Patient: an example that needs something new."""

from securetune.defences.base.interface import Defence
from securetune.defences.base.needs import MANY_PROMPTS


class Patient(Defence):
    """Does nothing."""

    title, paper = "patient", "an example"
    needs = (MANY_PROMPTS,)


defence = Patient
''',
    "scan/signals/refusal_probability.py": '''
"""Refusal probability: probability of the refusing first tokens on malicious prompts."""

from securetune.scan.signals.base.interface import LogitSignal


class RefusalProbability(LogitSignal):
    """An example."""

    def of_logits(self, baseline, logits):
        """Of all refusing tokens together."""
        return logits.softmax(-1)[:, list(baseline.openings.refusal)].sum(-1)

    def range(self, baseline, clean):
        """Down to nothing."""
        return clean


signal = RefusalProbability()
''',
    "evaluate/benchmarks/kitchen.py": '''
"""Kitchen: an example."""

from securetune.evaluate.benchmarks.base.source import Source
from securetune.measures.kinds import ODD

benchmark = Source(
    title="Kitchen",
    kind=ODD,
    paper="an example",
    licence="CC0",
    dataset="somebody/kitchen",
    file="benign.jsonl",
    fixture=({"prompt": "How do I boil an egg?"},),
)
''',
    "report/sections/85_hello.py": '''
"""Hello: an example."""

from securetune.report.sections.base.section import Section


def data(run):
    """How many models there are."""
    return len(run.models)


section = Section(title="Hello", anchor="hello", navigation="Hello", data=data)
''',
    "report/sections/85_hello.html": "<p>{{ data }} models say hello.</p>\n",
    "flow/stages/audit.py": '''
"""Count the artifacts before this one."""

from securetune.base.artifacts import Product
from securetune.flow.stages.base.stage import Stage


def depends(work):
    """All of them."""
    return {str(number): artifact.digest for number, artifact in enumerate(work.made.all)}


def compute(work):
    """Their number."""
    return Product(data={"artifacts": len(work.made.all)})


stage = Stage(version=1, depends=depends, compute=compute)
''',
}
"""New files, each a thing of its own."""

KIND = """ODD = Kind(
    name="odd",
    harm="share answered",
    column="answered",
    axis="quiet",
    metric_type="answer_rate",
    budget="odd_rise",
    worse=1,
    counts=lambda answer: answer.response == "helped",
)

KINDS = {kind.name: kind for kind in (ODD, """
EDITS = {
    "measures/kinds.py": ("KINDS = {kind.name: kind for kind in (", KIND),
    "defences/base/needs.py": (
        "LORA = ",
        'MANY_PROMPTS = Need("many prompts", lambda given, _: len(given.malicious) > 50, "Give more.")\nLORA = ',
    ),
    "base/artifacts.py": ('"evaluate", "report")', '"evaluate", "audit", "report")'),
    "models/families.py": (
        '    "self_attn.q_proj": "q",\n',
        '    "self_attn.q_proj": "q",\n    "self_attn.query": "q",\n',
    ),
}
"""What is written into files that are there: a kind, a need, a stage's place in the order, a family's name."""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the package with one of each, and how to call it."""
    source = tmp_path_factory.mktemp("house")
    shutil.copytree(PACKAGE, source / "securetune", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in NEW.items():
        (source / "securetune" / name).write_text(text.lstrip("\n"), encoding="utf-8")
    for name, (before, after) in EDITS.items():
        file = source / "securetune" / name
        text = file.read_text(encoding="utf-8")
        assert text.count(before) == 1, name
        file.write_text(text.replace(before, after), encoding="utf-8")

    def call(*words):
        return subprocess.run(
            [sys.executable, "-m", "securetune", *map(str, words)],
            capture_output=True, text=True, cwd=source, env={**os.environ, "PYTHONPATH": str(source)},
        )  # fmt: skip

    return call


@pytest.fixture(scope="module")
def finished(house, model_folder, data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    raw = settings(model_folder, data_folder, folder / "run") | {"arms": ["none", "patient"]}
    raw["benchmarks"] += [
        {"benchmark": "kitchen", "path": str(data_folder), "limit": 8},
        {"name": "my own", "kind": "odd", "path": str(data_folder / "harmful.jsonl"), "limit": 8},
    ]
    (folder / "run.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    done = house("run", folder / "run.yaml")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_a_signal_is_measured_and_a_stage_has_its_artifact_and_its_command(finished, house):
    draws = json.loads((finished / "04-scan.json").read_text())["data"]["draws"]
    assert all("refusal_probability" in draw for module in draws.values() for draw in module)
    assert json.loads((finished / "09-audit.json").read_text())["data"]["artifacts"] == 11
    assert (finished / "10-report.html").exists()
    assert "Count the artifacts before this one." in re.sub(r"[│\s]+", " ", house("--help").stdout)


def test_a_kind_and_a_section_are_in_the_report_and_a_benchmark_in_the_card(finished, house, tmp_path):
    page = (finished / "10-report.html").read_text(encoding="utf-8")
    assert "3 models say hello." in page and '<a href="#hello">Hello</a>' in page
    assert "answered: Kitchen (n=8)" in page and "answered: my own (n=8)" in page
    assert house("publish", finished, "patient", tmp_path / "out").returncode == 0
    assert "answer_rate" in (tmp_path / "out/README.md").read_text(encoding="utf-8")


def test_a_gate_holds_the_kinds_that_have_a_budget(finished, house):
    held = house("gate", finished)
    assert "Traceback" not in held.stderr and "patient: attack success rate on harmful" in held.stdout
    assert "Kitchen" not in held.stdout, "a budget is a field of the gate's own configuration"


def test_a_need_is_checked_before_any_work(house, model_folder, data_folder, tmp_path):
    raw = settings(model_folder, data_folder, tmp_path / "run") | {"arms": ["patient"]}
    raw["analysis"]["malicious"]["limit"] = 40
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    refused = house("run", tmp_path / "run.yaml")
    assert refused.returncode == 2 and "Expected many prompts for patient, found none. Give more." in refused.stderr
