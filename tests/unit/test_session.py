"""Session: what a run's configuration comes to."""

import pytest

from securetune.base.artifacts import RunFolder
from securetune.base.fingerprint import fingerprint
from securetune.config import parse_config
from securetune.data.config import DataConfig
from securetune.data.examples import load_examples
from securetune.errors import SecuretuneError
from securetune.flow.session import Session
from tests.conftest import settings, write_jsonl


def test_the_seed_of_a_run_reaches_its_scan_unless_the_scan_has_its_own(model_folder, data_folder, tmp_path):
    raw = settings(model_folder, data_folder, tmp_path) | {"seed": 3}
    for scan, seed in (({}, 3), ({"seed": 0}, 0)):
        config = parse_config(raw | {"scan": raw["scan"] | scan}, "test")
        assert Session(config, RunFolder(tmp_path)).scan_config.seed == seed


def task_rows(model_folder, data_folder, tmp_path, **task):
    raw = settings(model_folder, data_folder, tmp_path)
    config = parse_config(raw | {"task": raw["task"] | task, "seed": 3}, "test")
    return Session(config, RunFolder(tmp_path))


@pytest.fixture
def sorted_file(tmp_path):
    rows = [{"prompt": f"{'easy' if i < 40 else 'hard'} {i}", "completion": "A"} for i in range(160)]
    return write_jsonl(tmp_path / "sorted.jsonl", rows)


def kinds(examples):
    return {example["prompt"][0]["content"].split()[0] for example in examples}


def test_rows_held_out_of_a_sorted_file_are_of_all_kinds(sorted_file, model_folder, data_folder, tmp_path):
    task = {"train": {"path": str(sorted_file)}, "test_rows": 40}
    first, again = (task_rows(model_folder, data_folder, tmp_path, **task).examples for _ in range(2))
    assert first == again
    rows, held_out = first
    assert len(held_out) == 40 and kinds(held_out) == {"easy", "hard"} == kinds(rows)
    texts = [example["prompt"][0]["content"] for example in rows + held_out]
    assert sorted(texts) == sorted(set(texts)) and len(texts) == 160


def test_rows_with_a_test_file_or_a_limit_stay_as_they_were(sorted_file, model_folder, data_folder, tmp_path):
    source = {"path": str(sorted_file)}
    rows, held_out = task_rows(
        model_folder, data_folder, tmp_path, train=source, test={"path": str(data_folder / "task.jsonl")}, test_rows=12
    ).examples
    assert rows == load_examples(DataConfig(**source), seed=3)
    assert held_out == load_examples(DataConfig(path=str(data_folder / "task.jsonl")), seed=3)[:12]
    limited = {**source, "limit": 100}
    rows, held_out = task_rows(model_folder, data_folder, tmp_path, train=limited, test_rows=40).examples
    assert held_out + rows == load_examples(DataConfig(**limited), seed=3)


def test_a_result_with_rows_held_out_from_the_top_is_made_again(sorted_file, model_folder, data_folder, tmp_path):
    drawn = task_rows(model_folder, data_folder, tmp_path)
    assert drawn.task_fingerprint != fingerprint(drawn.config.task)
    given = task_rows(model_folder, data_folder, tmp_path, test={"path": str(data_folder / "task.jsonl")})
    assert given.task_fingerprint == fingerprint(given.config.task)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ["ml_lr@"]}, "a positive factor on the learning rate after @, found 'ml_lr@'"),
        ({"arms": ["@"]}, "the names of defences joined by \\+, found '@'"),
        ({"arms": ["ml_lr+"]}, "the names of defences joined by \\+, found 'ml_lr\\+'"),
        ({"arms": [""]}, "the names of defences joined by \\+, found ''"),
        ({"arms": ["none+ml_lr"]}, "distinct defences joined by \\+, found 'none\\+ml_lr'"),
        ({"arms": ["ema+ema"]}, "distinct defences joined by \\+, found 'ema\\+ema'"),
        ({"train": {"report_to": ["tensorbord"]}}, "found 'tensorbord'. Did you mean 'tensorboard'"),
        ({"train": {"report_to": ["neptune"]}}, "Expected neptune .* pip install neptune"),
        ({"arms": ["ml_lr@1e-300"]}, "a positive factor .*, found 'ml_lr@1e-300'.* from 1e-06 on"),
        (
            {"defence": {"ml_lr": {"sensitive_lr_mult": True}}},
            "defence.ml_lr.sensitive_lr_mult: expected a number, found true",
        ),
        ({"evaluate": {"engine": "vllm"}}, "Expected vLLM, found it missing"),
        ({"scan": {"signal": "refusal_margn"}}, "refusal_margin"),
        ({"evaluate": {"judge": {"llama_guard": {"endpoint": "x", "model": "m"}}}}, "evaluate.judge.llama_guard"),
        ({"evaluate": {"judge": {"llama_guard": {"path": "m", "retries": -1}}}}, "evaluate.judge.llama_guard.retries"),
    ],
)
def test_what_is_only_needed_late_is_checked_before_any_work(changes, message, model_folder, data_folder, tmp_path):
    raw = {**settings(model_folder, data_folder, tmp_path / "run"), **changes}
    with RunFolder(tmp_path / "run") as folder, pytest.raises(SecuretuneError, match=message):
        Session(parse_config(raw, "run.yaml"), folder).check()
