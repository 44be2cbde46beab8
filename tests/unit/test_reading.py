"""Reading a run: which models, in which order, and what is said where something is missing."""

import subprocess
import sys

import pytest

from securetune.base.artifacts import Product, RunFolder
from securetune.errors import ArtifactError
from securetune.measures.kinds import BENIGN, HARMFUL
from securetune.report.card import render_card
from securetune.report.reading import read_run
from securetune.report.render import render_report
from tests.results import answered, rewrite, store


@pytest.fixture
def folder(tmp_path):
    sets = [answered(HARMFUL, 3, 10), answered(BENIGN, 1, 10)]
    for arm, loss in (("base", 2.0), ("swat", 1.1), ("none", 1.0), ("ml_lr", 1.01), ("lisa", 1.5)):
        store(tmp_path, arm, sets, loss, is_defence=arm not in ("base", "none"))
    (tmp_path / "config.yaml").write_text("arms: [none, swat, 'ml_lr @ 1', lisa, absent]\n")
    return tmp_path


def arms(run):
    return [model.arm for model in run.models]


def test_models_stand_in_the_order_of_the_configuration_after_base_and_plain_tuning(folder):
    assert arms(read_run(folder)) == ["base", "none", "swat", "ml_lr", "lisa"]
    assert arms(read_run(str(folder), arms=("lisa", "none", "ml_lr"))) == ["base", "none", "lisa", "ml_lr"]
    (folder / "config.yaml").unlink()
    assert arms(read_run(folder)) == ["base", "none", "lisa", "ml_lr", "swat"]


def test_what_an_earlier_configuration_left_counts_for_nothing(folder):
    (folder / "config.yaml").write_text("arms: [ml_lr]\n")
    assert arms(read_run(folder)) == ["base", "none", "ml_lr"]
    with pytest.raises(ArtifactError, match=r"done evaluate swat, found it has done \['base', 'ml_lr', 'none'\]"):
        read_run(folder).model("swat")


def test_an_evaluation_of_an_earlier_model_is_noticed(folder):
    path = folder / "08-evaluate-swat.json"
    for name, of in (("trained", "the model that its training left"), ("base", "the model before tuning")):
        rewrite(path, lambda stored, name=name: stored.update(inputs={name: "0123"}))
        with pytest.raises(ArtifactError, match=f"evaluation of swat in .* to belong to {of} .*earlier one .hash 0123"):
            read_run(folder)


def test_answers_that_were_edited_are_noticed(folder):
    path = folder / "08-evaluate-swat.answers.json"
    path.write_text(path.read_text().replace("an answer", "another"))
    with pytest.raises(ArtifactError, match=r"swat.answers.json as the evaluation left them .*found others"):
        _ = read_run(folder).model("swat").answers


def test_losses_are_held_against_plain_tuning(folder):
    run = read_run(folder)
    assert [(model.loss_ratio, model.matched) for model in run.models] == [
        (None, None), (1.0, None), (1.1, False), (1.01, True), (1.5, False)
    ]  # fmt: skip
    assert [model.title for model in run.models[:2]] == ["before tuning", "none"]
    assert [model.is_defence for model in run.models] == [False, False, True, True, True]


def test_answers_are_typed_and_read_only_when_they_are_asked_for(folder):
    run = read_run(folder)
    plain = run.model("none")
    assert plain.benchmarks[0].answers == [] and sum(plain.answers[0].outcomes()) == 3
    path = folder / "08-evaluate-swat.answers.json"
    path.write_text("{")
    with pytest.raises(ArtifactError, match=r"Expected answers in .*swat.answers.json.*Delete the file"):
        _ = run.model("swat").answers
    path.unlink()
    with pytest.raises(ArtifactError, match=r"found no such file. Run `securetune evaluate` again"):
        _ = run.model("swat").answers


def test_what_a_run_has_not_done_is_said_when_it_is_asked_for(folder, tmp_path):
    run = read_run(folder)
    with pytest.raises(ArtifactError, match=r"done evaluate absent, found it has done \['base', 'lisa', 'ml_lr'"):
        run.model("absent")
    with pytest.raises(ArtifactError, match="done evaluate absent"):
        read_run(folder, arms=["absent"])
    with pytest.raises(ArtifactError, match="to have done search"):
        _ = run.search
    with pytest.raises(ArtifactError, match="to have done"):
        render_report(run)
    with pytest.raises(ArtifactError, match="Expected the folder of a finished run at .*nowhere, found none"):
        read_run(tmp_path / "nowhere")
    (folder / "config.yaml").unlink()
    with pytest.raises(ArtifactError, match="Expected the run's configuration in"):
        _ = run.config_text
    assert run.find("absent") is None and arms(read_run(folder, arms=[])) == ["base", "none"]


def test_a_training_of_an_older_version_is_an_error_that_says_what_to_do(folder):
    path = folder / "07-train-swat.json"
    rewrite(path, lambda stored: stored["data"].pop("title"))
    with pytest.raises(ArtifactError, match=r"07-train-swat.json, found a problem at title.*made again"):
        read_run(folder)


def test_reading_a_run_loads_no_defence_and_no_model_library(folder):
    code = (
        "import sys; from securetune.report.reading import read_run;"
        f"read_run({str(folder)!r}).models[-1].answers;"
        "print([m for m in sys.modules if m in ('torch', 'transformers', 'scipy.stats', 'securetune.defences.swat')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_provenance_lists_every_artifact_before_the_report_in_the_order_of_the_flow(folder):
    RunFolder(folder).produce("report", {}, lambda: Product(data={}))
    found = [(made.stage, made.variant) for made in read_run(folder).artifacts]
    names = ["none", "swat", "ml_lr", "lisa"]
    assert found == [*(("train", arm) for arm in names), *(("evaluate", arm) for arm in ("base", *names))]


def test_a_card_is_of_a_tuned_model(folder):
    with pytest.raises(ArtifactError, match=r"Expected an arm that was tuned, found 'base'. Choose one of \['none'"):
        render_card(read_run(folder), "base")
