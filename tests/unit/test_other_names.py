"""Are the names that TRL and PEFT have for fields of `train` taken, wherever a configuration comes from?"""

import json
from pathlib import Path

import pytest
import yaml

from securetune.compare.grid import CompareConfig, dump_comparison, run_configs
from securetune.config import override, parse_config, read_yaml, validated
from securetune.doors.tune import Request, tune_settings
from securetune.errors import ConfigError
from securetune.train.config import OTHER_NAMES, TrainConfig
from tests.unit.test_configs import minimal_run


def trained(**train):
    return parse_config(minimal_run(train=train), "it").train


@pytest.mark.parametrize("other", OTHER_NAMES)
def test_another_name_sets_the_field(other):
    assert trained(**{other: 17}) == TrainConfig(**{OTHER_NAMES[other]: 17})


@pytest.mark.parametrize("other", OTHER_NAMES)
def test_both_names_at_once_are_refused(other):
    ours = OTHER_NAMES[other]
    with pytest.raises(ConfigError, match=f"`{ours}` and `{other}` name the same field: leave one of them out"):
        trained(**{ours: 17, other: 17})


def test_two_other_names_of_one_field_are_refused():
    with pytest.raises(ConfigError, match="`r` and `lora_r` name the same field"):
        trained(r=4, lora_r=4)


def test_epochs_are_sent_to_where_they_are_counted():
    with pytest.raises(ConfigError, match="write `steps` in place of `num_train_epochs`.*--epochs N"):
        trained(num_train_epochs=3)


def test_a_file_and_an_override_may_use_different_names_than_what_lies_below(tmp_path):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(minimal_run(train={"steps": 7, "batch_size": 2})))
    above = {"base": "base.yaml", "train": {"max_steps": 9, "per_device_train_batch_size": 4}}
    (tmp_path / "above.yaml").write_text(yaml.safe_dump(above))
    raw = read_yaml(tmp_path / "above.yaml")
    override(raw, "train.per_device_train_batch_size", 5)
    override(raw, "train.r", 3)
    config = parse_config(raw, "it").train
    assert (config.steps, config.batch_size, config.lora_rank) == (9, 5, 3)
    override(raw, "train", {"max_steps": 11})
    assert parse_config(raw, "it").train == TrainConfig(steps=11)


def test_a_comparison_takes_them_in_every_part():
    run = {name: value for name, value in minimal_run(train={"max_steps": 7}).items() if name not in ("output", "task")}
    tasks = {"short": {"task": minimal_run()["task"], "train": {"steps": 5, "r": 2}}}
    raw = {"output": "out", "run": run, "tasks": tasks, "arms": ["ml_lr"]}
    config = validated(CompareConfig, raw, "it")
    printed = validated(CompareConfig, yaml.safe_load(dump_comparison(config)), "printed")
    for comparison in (config, printed):
        assert {(cell.train.steps, cell.train.lora_rank) for cell in run_configs(comparison)} == {(5, 2)}


def test_tune_counts_no_steps_where_max_steps_are_given(tmp_path, model_folder):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"Say {n}.", "completion": f"{n}!"}) + "\n" for n in range(100)))
    settings = {"train.max_steps": 3, "train.per_device_train_batch_size": 4}
    request = Request(model=str(model_folder), rows=str(rows), output=Path("out"), settings=settings)
    config = parse_config(tune_settings(request), "it").train
    assert (config.steps, config.batch_size) == (3, 4)
    settings = {"train": {"max_steps": 3}}
    request = Request(model=str(model_folder), rows=str(rows), output=Path("out"), settings=settings)
    assert parse_config(tune_settings(request), "it").train.steps == 3


def test_true_is_no_number_under_another_name_either():
    with pytest.raises(ConfigError, match="train.steps: expected a number, found true"):
        trained(max_steps=True)


def test_an_unknown_field_is_an_error_with_a_near_one():
    with pytest.raises(ConfigError, match=r"train.setps: Extra inputs are not permitted \(did you mean 'steps'\?\)"):
        trained(setps=3)
    with pytest.raises(ConfigError, match=r"benchmarks.0.benchmrk: .*\(did you mean 'benchmark'\?\)"):
        parse_config(minimal_run(benchmarks=[{"benchmrk": "advbench"}]), "it")
    with pytest.raises(ConfigError, match=r"train.colour: Extra inputs are not permitted\."):
        trained(colour="red")


@pytest.mark.parametrize(("given", "meant"), [("tensorboard", ("tensorboard",)), ("none", ()), (["wandb"], ("wandb",))])
def test_trackers_are_given_as_transformers_takes_them(given, meant):
    assert trained(report_to=given).report_to == meant
