"""Nothing that a configuration names can change without the stages behind it running again."""

import json
import os
import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel

from securetune.base.artifacts import STAGES, RunFolder
from securetune.base.fingerprint import Content, _marks
from securetune.config import parse_config
from securetune.flow.made import Made
from securetune.flow.pipeline import run
from securetune.flow.session import Session
from securetune.flow.stages import STAGE_FILES
from securetune.flow.stages.base.stage import Work
from tests.conftest import settings, write_jsonl

PLACES = {
    "model.path": {"preflight", "topology", "features", "probe", "scan", "search", "train", "evaluate"},
    "unaligned.path": {"preflight", "train"},
    "safety.path": {"preflight", "train"},
    "analysis.malicious.path": {"preflight", "features", "train"},
    "analysis.benign.path": {"preflight", "features", "train"},
    "task.train.path": {"preflight", "train", "evaluate"},
    "task.test.path": {"preflight", "train", "evaluate"},
    "task.mixed.path": {"preflight", "train", "evaluate"},
    "benchmarks.0.path": {"preflight", "probe", "evaluate"},
    "benchmarks.1.path": {"preflight", "probe", "evaluate"},
    "benchmarks.2.path": {"preflight", "probe", "evaluate"},
    "benchmarks.2.attack.path": {"preflight", "probe", "evaluate"},
    "benchmarks.3.attack.path": {"preflight", "probe", "evaluate"},
    "evaluate.judge.harmbench_classifier.prompt_file": {"evaluate"},
    "evaluate.judge.llama_guard.path": {"evaluate"},
    "defence.plan_file.path": {"plan", "train"},
}
"""Every place of the configuration below that names something, and the stages whose own inputs have to change."""


def place(raw, field):
    """What stands at a dotted field."""
    for part in field.split("."):
        raw = raw[int(part) if part.isdigit() else part]
    return raw


@pytest.fixture(scope="module")
def raw(model_folder, data_folder, tmp_path_factory):
    """A configuration that names something wherever one can, each a file of its own."""
    files = tmp_path_factory.mktemp("named")
    for name in ("harmful", "benign", "task"):
        shutil.copy(data_folder / f"{name}.jsonl", files)
    for name in ("harmful-analysis", "harmful-own", "advbench"):
        shutil.copy(data_folder / "harmful.jsonl", files / f"{name}.jsonl")
    shutil.copy(data_folder / "benign.jsonl", files / "benign-analysis.jsonl")
    for name in ("test", "mixed", "safety", "shown"):
        shutil.copy(data_folder / "task.jsonl", files / f"{name}.jsonl")
    for name in ("model", "unaligned", "guard"):
        shutil.copytree(model_folder, files / name)
    (files / "template.txt").write_text("Now: {prompt}")
    (files / "judge.txt").write_text("Behavior: {behavior}\nGeneration: {generation}\nyes or no?")
    plan = {"method": "mine", "model": {"id": "x"}, "entries": [{"pattern": ".*", "lr_mult": 0.5}]}
    (files / "plan.json").write_text(json.dumps(plan))
    made = settings(files / "model", files, tmp_path_factory.mktemp("stale") / "run")
    made["unaligned"] = str(files / "unaligned")
    made["model"], made["unaligned"] = {"path": made["model"]}, {"path": made["unaligned"]}
    made["safety"] = {"path": str(files / "safety.jsonl")}
    made["analysis"] = {
        kind: {"path": str(files / f"{name}-analysis.jsonl")}
        for kind, name in (("malicious", "harmful"), ("benign", "benign"))
    }
    made["task"] |= {
        "test": {"path": str(files / "test.jsonl")},
        "mixed": {"path": str(files / "mixed.jsonl"), "share": 0.1},
    }
    made["benchmarks"] = [
        {"name": "harmful", "kind": "harmful", "path": str(files / "harmful-own.jsonl"), "limit": 8},
        {"name": "benign", "kind": "benign", "path": str(files / "benign.jsonl"), "limit": 8},
        {"benchmark": "advbench", "path": str(files), "limit": 8,
         "attack": {"name": "template", "path": str(files / "template.txt")}},
        {"benchmark": "advbench", "path": str(files), "limit": 8,
         "attack": {"name": "in_context", "path": str(files / "shown.jsonl")}},
    ]  # fmt: skip
    made["arms"] = ["none", "plan_file"]
    made["defence"] = {"plan_file": {"path": str(files / "plan.json")}}
    made["scan"]["method"] = "gradient"
    return made


@pytest.fixture(scope="module")
def made(raw):
    """What a finished run of it has left; and the same configuration with judges that nobody has to ask."""
    folder = RunFolder(run(parse_config(raw, "test")))
    artifacts = Made()
    for stage in STAGES[:-1]:
        for artifact in filter(
            None, [folder.read(stage), *(folder.read(stage, arm) for arm in folder.variants(stage))]
        ):
            artifacts.add(artifact)
    files = Path(raw["task"]["train"]["path"]).parent
    raw["evaluate"] |= {
        "judges": ["refusal_phrases", "harmbench_classifier", "llama_guard"],
        "judge": {
            "harmbench_classifier": {
                "prompt_file": str(files / "judge.txt"), "endpoint": "http://judge.invalid/v1", "model": "fake",
            },
            "llama_guard": {"path": str(files / "guard")},
        },
    }  # fmt: skip
    return artifacts


def inputs(raw, made):
    """The fingerprints that every stage and arm goes by."""
    session = Session(parse_config(raw, "test"), RunFolder(raw["output"]))
    return {
        (name, arm): STAGE_FILES.get(name).depends(Work(session=session, made=made, arm=arm))
        for name in STAGES[:-1]
        for arm in STAGE_FILES.get(name).arms(session)
    }


def changed_at(path: Path, text: str) -> None:
    """Change what lies at a path: a row of a file of prompts or rows, or the file itself, or a model's weights."""
    if path.is_dir():
        os.utime(path / "model.safetensors", ns=(1, 1))
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in text.splitlines()]
        write_jsonl(path, [{**row, "prompt": f"{row['prompt']} now"} for row in rows])
    else:
        path.write_text(text.replace("0.5", "0.25") if path.suffix == ".json" else f"{text} again")


@pytest.mark.parametrize("field", PLACES)
def test_whatever_is_named_makes_the_stages_behind_it_run_again_when_it_changes(field, raw, made):
    before = inputs(raw, made)
    path = Path(place(raw, field))
    path = path / "advbench.jsonl" if path.is_dir() and field.startswith("benchmarks") else path
    text = "" if path.is_dir() else path.read_text()
    stamp = (path / "model.safetensors").stat().st_mtime_ns if path.is_dir() else None
    changed_at(path, text)
    try:
        after = inputs(raw, made)
    finally:
        if path.is_dir():
            os.utime(path / "model.safetensors", ns=(stamp, stamp))
        else:
            path.write_text(text)
    assert {stage for (stage, arm), own in before.items() if after[stage, arm] != own} == PLACES[field]
    assert inputs(raw, made) == before


def test_a_benchmarks_reference_answers_count_too(raw, made, tmp_path):
    rows = [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(8)]
    file = write_jsonl(tmp_path / "gsm8k_test.jsonl", rows)
    with_skill = raw | {"benchmarks": [*raw["benchmarks"], {"benchmark": "gsm8k", "path": str(file)}]}
    before = inputs(with_skill, made)
    write_jsonl(file, [{**rows[0], "answer": "#### 7"}, *rows[1:]])
    after = inputs(with_skill, made)
    changed = {stage for (stage, arm), own in before.items() if after[stage, arm] != own}
    assert changed == {"preflight", "probe", "evaluate"}


def test_the_longest_row_changes_the_loss_before_tuning_too(raw, made):
    before, after = inputs(raw, made), inputs(raw | {"train": raw["train"] | {"max_length": 64}}, made)
    changed = {stage for (stage, arm), own in before.items() if after[stage, arm] != own}
    assert changed == {"preflight", "train", "evaluate"}
    assert before["evaluate", "base"] != after["evaluate", "base"]


def named(value, at=""):
    """The dotted fields of a configuration whose type says that they name something."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            inner = getattr(value, name)
            if isinstance(inner, str) and any(isinstance(mark, Content) for mark in _marks(field)):
                yield f"{at}{name}"
            else:
                yield from named(inner, f"{at}{name}.")
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from named(item, f"{at}{number}.")


def test_every_field_of_the_configuration_that_names_something_is_tried(raw, made):
    found = set(named(parse_config(raw, "test"))) - {"benchmarks.3.path"}  # the file of benchmarks.2 once more
    of_plugins = {field for field in PLACES if "attack." in field or field.startswith(("evaluate.judge", "defence."))}
    assert found == set(PLACES) - of_plugins
