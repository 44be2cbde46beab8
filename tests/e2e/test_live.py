"""The doors take what somebody holds in Python: models, a data set, dictionaries."""

import json
from pathlib import Path

import pytest
import torch
from datasets import Dataset, DatasetDict
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import securetune
from securetune.doors.live import rows_path
from securetune.errors import ConfigError, DataError, ModelError
from tests.conftest import settings as run_settings
from tests.conftest import write_jsonl


@pytest.fixture(scope="module")
def small(model_folder, data_folder):
    raw = run_settings(model_folder, data_folder, "")
    return {name: raw[name] for name in ("analysis", "benchmarks", "evaluate")}


@pytest.fixture(scope="module")
def rows(data_folder):
    return [json.loads(line) for line in (data_folder / "task.jsonl").read_text().splitlines()]


def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder)


def with_adapter(folder):
    torch.manual_seed(0)
    settings = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(loaded(folder), settings)


@pytest.fixture(scope="module")
def checked(model_folder, rows, small, tmp_path_factory):
    """A check of a model and an adapter as they are in memory."""
    output = tmp_path_factory.mktemp("live") / "out"
    tokenizer, task = AutoTokenizer.from_pretrained(model_folder), Dataset.from_list(rows[:12])
    given = (loaded(model_folder), with_adapter(model_folder))
    return securetune.check(*given, tokenizer=tokenizer, task=task, output=output, settings=small)


def numbers(checked):
    return [(model.title, model.loss, [one.rate.value for one in model.benchmarks]) for model in checked.run.models]


def test_a_check_of_live_models_is_that_of_their_folders(checked, model_folder, rows, small, tmp_path):
    with_adapter(model_folder).save_pretrained(tmp_path / "tuned")
    task = write_jsonl(tmp_path / "h.jsonl", rows[:12])
    other = securetune.check(model_folder, tmp_path / "tuned", task=task, output=tmp_path / "out", settings=small)
    assert numbers(checked) == numbers(other) and [title for title, *_ in numbers(other)][1:] == ["tuned"]


def test_the_same_live_models_are_not_asked_again(checked, model_folder, rows, small, monkeypatch):
    monkeypatch.setattr("securetune.doors.checked.Checking.base_model", pytest.fail)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    again = securetune.check(
        loaded(model_folder), {"tuned": with_adapter(model_folder)}, tokenizer=tokenizer, task=rows[:12],
        output=checked.folder, settings=small,
    )  # fmt: skip
    assert numbers(again) == numbers(checked)


def test_a_live_model_is_tuned_on_dictionaries_and_stays_as_it_is(model_folder, data_folder, rows, small, tmp_path):
    model, train = loaded(model_folder), run_settings("", data_folder, "")["train"]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    own = {**small, "train": train, "task": {"metric": "exact_match"}}
    tuned = securetune.tune(
        model, rows, tokenizer=AutoTokenizer.from_pretrained(model_folder), output=tmp_path / "out", defence="none",
        budget=1.0, settings=own,
    )  # fmt: skip
    assert (tuned.folder / "adapter_config.json").is_file() and tuned.run.config.task.name == "rows"
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_cannot_be_a_model_before_tuning_is_refused(model_folder, small, tmp_path):
    tokenizer, tuned = AutoTokenizer.from_pretrained(model_folder), with_adapter(model_folder)
    with pytest.raises(ModelError, match="found a live one with adapters in it"):
        securetune.check(tuned.base_model.model, tuned, tokenizer=tokenizer, output=tmp_path / "a", settings=small)
    with pytest.raises(ModelError, match="Expected a tokenizer with a live model"):
        securetune.repair(loaded(model_folder), tuned, output=tmp_path / "a", settings=small)
    with pytest.raises(ModelError, match="Expected `tokenizer` with a live model only"):
        securetune.check(model_folder, tuned, tokenizer=tokenizer, output=tmp_path / "a", settings=small)
    assert not (tmp_path / "a").exists()


def test_modules_that_are_named_by_a_pattern_stay_a_pattern(model_folder, small, tmp_path, monkeypatch):
    monkeypatch.setattr("securetune.doors.repaired.carry_out", lambda config, budgets, **_: config)
    tuned = get_peft_model(loaded(model_folder), LoraConfig(target_modules=r".*\.[qv]_proj", init_lora_weights=False))
    config = securetune.repair(model_folder, tuned, output=tmp_path / "out", settings=small)
    kept = json.loads((Path(config.tuned["tuned"].path) / "adapter_config.json").read_text())
    assert kept["target_modules"] == r".*\.[qv]_proj"


def test_a_live_adapter_gets_to_its_repair(model_folder, small, tmp_path, monkeypatch):
    monkeypatch.setattr("securetune.doors.repaired.carry_out", lambda config, budgets, **_: config)
    config = securetune.repair(model_folder, with_adapter(model_folder), output=tmp_path / "out", settings=small)
    assert config.name == "tuned" and config.tuned["tuned"].path == str(tmp_path / "out/given/tuned-1")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (DatasetDict({"train": Dataset.from_list([{"a": 1}])}), "found str as row 1.*one split"),
        ([{"prompt": "Q"}, {"prompt": {1, 2}}], "found in row 2: .*set is not JSON serializable"),
    ],
)
def test_rows_that_are_none_are_refused(rows, message, tmp_path):
    with pytest.raises(DataError, match=message):
        rows_path(rows, tmp_path)
    assert not list((tmp_path / "given").iterdir())


def test_nothing_is_written_beside_files_of_others(rows, model_folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="found other files there"):
        securetune.tune(str(model_folder), rows, output=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
