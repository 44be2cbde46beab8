"""A run repeated from its folder gives the same results, and what does not is named."""

import json
import re

import pytest
import yaml
from typer.testing import CliRunner

from securetune.cli import app
from securetune.config import parse_config
from securetune.errors import ArtifactError
from securetune.flow.pipeline import run
from securetune.flow.reproduce import reproduce
from tests.conftest import settings
from tests.results import rewrite


@pytest.fixture(scope="module")
def original(model_folder, data_folder, tmp_path_factory):
    raw = settings(model_folder, data_folder, tmp_path_factory.mktemp("original") / "run")
    scan = raw["scan"] | {"method": "auto", "auto_minutes": 1e-6}
    return run(parse_config(raw | {"arms": ["none", "ml_lr"], "scan": scan}, "test"), until="evaluate")


@pytest.fixture(scope="module")
def repetition(original):
    return reproduce(original, original.with_name("again"))


def test_a_run_repeated_in_another_folder_gives_the_same_results(repetition):
    assert repetition.compared[-2:] == ["evaluate ml_lr", "evaluate none"]
    assert not repetition.differences and not repetition.versions


def test_a_scan_that_chose_its_method_by_time_is_repeated_by_that_method(original, repetition):
    before, again = (json.loads((folder / "04-scan.json").read_text()) for folder in (original, repetition.folder))
    assert "so a race is run instead" in before["data"]["why"]
    assert [made["data"]["method"] for made in (before, again)] == ["race", "race"] and not again["data"]["why"]


def test_a_number_and_a_weight_that_were_changed_are_named(original, repetition):
    path = original / "08-evaluate-none.json"
    stored = path.read_text(encoding="utf-8")

    def change(artifact):
        artifact["data"]["task"]["loss"], artifact["inputs"]["seed"], artifact["versions"]["torch"] = 99.5, "1", "1.0"

    weights = original / "07-train-ml_lr" / "adapter_model.safetensors"
    content = weights.read_bytes()
    try:
        rewrite(path, change)
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        result = CliRunner().invoke(app, ["reproduce", str(original), "--output", str(repetition.folder)])
    finally:
        path.write_text(stored, encoding="utf-8")
        weights.write_bytes(content)
    assert result.exit_code == 1
    assert "evaluate none: 1 differences, the first at task.loss: 99.5 before" in result.output
    assert re.search(r"Made from another [a-z, ]*seed", result.output) and "torch was 1.0 and is" in result.output
    assert "train ml_lr: 1 differences, the first at 07-train-ml_lr/adapter_model.safetensors" in result.output


def test_what_is_no_run_and_its_own_folder_are_refused(original, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({}), encoding="utf-8")
    with pytest.raises(ArtifactError, match="Expected the folder of a run at .*, found none of its results"):
        reproduce(tmp_path, tmp_path / "again")
    with pytest.raises(ArtifactError, match="Expected another folder than the run's own"):
        reproduce(original, original)
