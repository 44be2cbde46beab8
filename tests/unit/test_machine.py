"""What the machine refuses, and overrides that cannot be set, are one clear line."""

import pytest

from securetune.base.artifacts import write_atomic
from securetune.config import merged, override, parsed_override
from securetune.doors.check import check_settings
from securetune.errors import ConfigError, MachineError


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(MachineError, match="Expected a folder at .*absent for out.json, found none. Make it first"):
        write_atomic(tmp_path / "absent" / "out.json", "{}")


@pytest.mark.parametrize(
    ("raw", "field", "message"),
    [
        ({"output": "text"}, "output.path", r"Expected `output` to have fields, .*found 'text'\. .*-s 'output=\.\.\.'"),
        ({"model": [1]}, "model.path", r"Expected `model` to have fields, .* found a list.*-s 'model=\[\.\.\.\]'"),
        ({}, "benchmarks.0.limit", r"Expected `benchmarks` to have fields, .*found a list, of which it sets no part"),
        ({}, "evaluate.judges.0", r"Expected `evaluate.judges` to have fields, .*found a list"),
        ({}, "seed.x", "Expected `seed` to have fields, .*found 0"),
        ({"run": {}}, "run.arms.x", "Expected `run.arms` to have fields, .*found a list"),
    ],
)
def test_an_override_below_what_has_no_fields_is_refused(raw, field, message):
    with pytest.raises(ConfigError, match=message):
        override(raw, field, "x")


def test_an_override_refines_what_stands_there_by_default():
    raw = {"task": None}
    for field, value in (("analysis.malicious.limit", 48), ("analysis.benign.half", "odd"), ("scan.draws", 3)):
        override(raw, field, value)
    override(raw, "task.train.path", "rows.jsonl")
    assert raw == {
        "analysis": {
            "malicious": {"path": "securetune:harmful", "half": "even", "limit": 48},
            "benign": {"path": "securetune:twins", "half": "odd"},
        },
        "scan": {"draws": 3},
        "task": {"train": {"path": "rows.jsonl"}},
    }
    comparison = {"run": {"analysis": {"malicious": {"path": "mine.jsonl"}}}, "tasks": {"t": {}}}
    override(comparison, "run.analysis.malicious.limit", 4)
    override(comparison, "run.analysis.benign.limit", 5)
    override(comparison, "tasks.t.analysis.benign.limit", 6)
    assert comparison["run"]["analysis"] == {
        "malicious": {"path": "mine.jsonl", "limit": 4},
        "benign": {"path": "securetune:twins", "half": "even", "limit": 5},
    }
    assert comparison["tasks"] == {"t": {"analysis": {"benign": {"limit": 6}}}}, "it is put over what `run` says"
    assert check_settings("m", "t", settings={"analysis.malicious.limit": 48}).analysis.malicious.half == "even"


def test_fields_of_a_model_are_put_over_its_path_alone():
    raw, whole = {"model": "mine", "run": {"unaligned": "mine"}}, {"path": "mine", "dtype": "float32"}
    override(raw, "model.dtype", "float32")
    override(raw, "run.unaligned.dtype", "float32")
    assert raw == {"model": whole, "run": {"unaligned": whole}}
    assert merged({"model": "mine"}, {"model": {"dtype": "float32"}}) == {"model": whole}
    assert merged({"model": {"dtype": "float32"}}, {"model": "mine"}) == {"model": "mine"}


def test_an_override_below_a_section_left_empty_fills_it():
    raw = {"train": None}
    override(raw, "train.steps", 5)
    assert raw == {"train": {"steps": 5}}


@pytest.mark.parametrize("text", ["train", "=5", "a..b=1", "arms=[none", "a={"])
def test_an_override_of_another_form_is_refused(text):
    with pytest.raises(ConfigError, match="--set"):
        parsed_override(text)
