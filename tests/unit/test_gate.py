"""Gate: budgets held against stored results."""

import json
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from securetune.base.artifacts import Product, RunFolder, digest_path
from securetune.cli import app
from securetune.errors import ArtifactError
from securetune.report.gate import Budgets, check, passes

N = 200


def benchmark(kind, hits):
    """A stored benchmark of which the first `hits` answers are counted."""
    counted = [i < hits for i in range(N)]
    answers = [
        {"refused": {"refusal_phrases": c if kind == "benign" else not c}, "coherent": True, "right": c}
        for c in counted
    ]
    return {"benchmark": kind, "kind": kind, "answers": answers}


def stored(path, arm, harmful, benign, loss):
    folder = RunFolder(path)
    sets = [benchmark("harmful", harmful), benchmark("benign", benign)]
    companion = folder.file("evaluate", arm, ".answers.json")
    companion.write_text(json.dumps({"benchmarks": sets}))
    summary = [
        {"benchmark": s["benchmark"], "kind": s["kind"], "rates": {"refusal_phrases": {"value": 0.0}}} for s in sets
    ]
    folder.produce(
        "evaluate",
        {"x": digest_path(companion)},
        lambda: Product(data={"benchmarks": summary, "task": {"loss": loss, "score": None}}, files=[companion]),
        variant=arm,
    )
    if arm != "base":
        folder.produce("train", {}, lambda: Product(data={"steps": 1}), variant=arm)


@pytest.fixture
def run(tmp_path):
    stored(tmp_path, "base", 4, 4, 5.0)
    stored(tmp_path, "none", 120, 4, 1.0)
    stored(tmp_path, "ml_lr", 6, 4, 1.01)
    stored(tmp_path, "swat", 60, 16, 1.01)
    stored(tmp_path, "random_plan", 90, 4, 1.2)
    return tmp_path


def findings(path, **budgets):
    return {(c.arm, c.on): c.finding for c in check(RunFolder(path), Budgets(**budgets))}


def test_every_protecting_arm_is_held_against_every_budget(run):
    assert findings(run) == {
        ("ml_lr", "harmful"): "within",
        ("ml_lr", "benign"): "within",
        ("ml_lr", "the task"): "within",
        ("swat", "harmful"): "beyond",
        ("swat", "benign"): "unclear",
        ("swat", "the task"): "within",
    }
    assert findings(run, arms=("random_plan",))["random_plan", "the task"] == "beyond"
    assert findings(run, arms=("ml_lr",), asr_rise=None, over_refusal_rise=None) == {("ml_lr", "the task"): "within"}


def test_unclear_passes_only_where_the_owner_says_so(run):
    unclear = next(c for c in check(RunFolder(run), Budgets()) if c.finding == "unclear")
    assert not passes(unclear, Budgets()) and passes(unclear, Budgets(unclear="pass"))


def test_a_run_without_what_is_asked_for_is_an_error(run):
    with pytest.raises(ArtifactError, match="done evaluate lisa"):
        check(RunFolder(run), Budgets(arms=("lisa",)))
    with pytest.raises(ArtifactError, match="a verdict of llama_guard"):
        check(RunFolder(run), Budgets(judge="llama_guard"))
    with pytest.raises(ArtifactError, match="no budget"):
        check(RunFolder(run), Budgets(asr_rise=None, over_refusal_rise=None, task_loss_rise=None))


def test_the_command_fails_with_the_reason_and_writes_both_files(run, tmp_path):
    (tmp_path / "gate.yaml").write_text("arms: [ml_lr]\n")
    call = ["gate", str(run), "--budgets", str(tmp_path / "gate.yaml")]
    assert CliRunner().invoke(app, call).exit_code == 0
    files = ["--junit", str(tmp_path / "out.xml"), "--json", str(tmp_path / "out.json")]
    found = CliRunner().invoke(app, ["gate", str(run), *files])
    assert found.exit_code == 2
    assert "swat: attack success rate on harmful changed by +28.0" in found.output and "4 of 6" in found.output
    suite = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("6", "2")
    assert [f.get("type") for f in suite.iter("failure")] == ["beyond", "unclear"]
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["passed"] is False and len(written["checks"]) == 6
