"""Configurations: bases, the whole configuration as it is printed, and those that ship with the package."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from securetune.base.shipped import shipped_config, shipped_configs
from securetune.cli import app
from securetune.compare.grid import CompareConfig, dump_comparison, run_configs
from securetune.config import dump_config, merged, parse_config, read_yaml, validated
from securetune.errors import ConfigError
from securetune.report.gate import Budgets
from securetune.testbed.recipe import load_recipe

ROOT = Path(__file__).parents[2]
COMPARISONS = [config for config in shipped_configs() if config.command == "securetune compare"]


def write(folder, **files):
    for name, value in files.items():
        text = value if isinstance(value, str) else yaml.safe_dump(value)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def minimal_run(**more):
    prompts = {"path": "p.jsonl"}
    return {
        "model": "m", "output": "o", "analysis": {"malicious": prompts, "benign": prompts},
        "task": {"train": {"path": "t.jsonl"}}, "benchmarks": [{"benchmark": "advbench"}], **more,
    }  # fmt: skip


def called(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception:
        raise result.exception
    return result.stdout


def test_merging_goes_mapping_by_mapping_and_replaces_everything_else():
    below = {"a": {"x": 1, "y": {"z": 1}}, "b": [1, 2], "c": {"x": 1}}
    whole = merged(below, {"a": {"y": {"w": 2}}, "b": [3], "c": 4})
    assert whole == {"a": {"x": 1, "y": {"z": 1, "w": 2}}, "b": [3], "c": 4}
    whole["a"]["y"]["z"] = 9
    assert below["a"]["y"]["z"] == 1


def test_the_file_wins_over_its_bases_and_a_later_base_over_an_earlier_one(tmp_path):
    write(tmp_path, first={"a": 1, "b": 1, "c": {"x": 1}}, second={"b": 2, "c": {"y": 2}})
    write(tmp_path, top={"base": ["first.yaml", "second.yaml"], "c": {"y": 3}})
    assert read_yaml(tmp_path / "top.yaml") == {"a": 1, "b": 2, "c": {"x": 1, "y": 3}}


def test_a_base_is_read_relative_to_the_file_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    write(tmp_path, ground={"a": 1, "b": 1})
    write(tmp_path / "deep", middle={"base": "../ground.yaml", "b": 2}, top={"base": "middle.yaml"})
    monkeypatch.chdir(tmp_path)
    assert read_yaml("deep/top.yaml") == {"a": 1, "b": 2}


def test_two_bases_may_build_on_the_same_file(tmp_path):
    write(tmp_path, ground={"a": 1}, left={"base": "ground.yaml"}, right={"base": "ground.yaml", "b": 2})
    write(tmp_path, top={"base": ["left.yaml", "right.yaml"]})
    assert read_yaml(tmp_path / "top.yaml") == {"a": 1, "b": 2}


def test_the_runs_models_and_tasks_of_a_comparison_can_have_bases(tmp_path):
    write(tmp_path, mine={"monitor_every": 1, "task": {"test_rows": 20}})
    part = {"base": "mine.yaml", "monitor_every": 2}
    write(tmp_path, compare={"run": part, "models": {"m": part}, "tasks": {"t": part, "plain": {}}})
    whole = {"monitor_every": 2, "task": {"test_rows": 20}}
    expected = {"run": whole, "models": {"m": whole}, "tasks": {"t": whole, "plain": {}}}
    assert read_yaml(tmp_path / "compare.yaml") == expected


def test_a_runs_file_serves_as_a_base_of_a_comparison_which_has_seeds_arms_output_and_names_of_its_own(tmp_path):
    run = minimal_run(seed=5, arms=["swat"])
    run["task"] |= {"name": "mine"}
    write(tmp_path, run=run, top={"base": "run.yaml"})
    raw = {"output": "out", "arms": ["ema"], "seeds": [7], "run": {"base": "top.yaml"}, "tasks": {"t": {}}}
    [cell] = run_configs(validated(CompareConfig, read_yaml(write(tmp_path, compare=raw) / "compare.yaml"), "it"))
    assert (cell.seed, cell.output, cell.task.name) == (7, "out", "t") and cell.task.train.path == "t.jsonl"
    raw["run"]["seed"] = 5
    with pytest.raises(ConfigError, match=r"run\.seed would not count, as seeds of the comparison says it"):
        validated(CompareConfig, read_yaml(write(tmp_path, compare=raw) / "compare.yaml"), "it")


def test_a_field_of_the_users_rows_may_be_called_base(tmp_path):
    raw = minimal_run(task={"train": {"path": "t.jsonl", "skip": {"base": "llama"}}})
    assert read_yaml(write(tmp_path, run=raw) / "run.yaml") == raw


def test_a_shipped_file_serves_as_a_base(tmp_path):
    write(tmp_path, run={"base": "securetune:base/hub.yaml", "model": {"path": "mine"}, "output": "runs/mine"})
    assert parse_config(read_yaml(tmp_path / "run.yaml"), "run.yaml").model.dtype == "bfloat16"


def test_recipes_and_budgets_have_bases_too(tmp_path):
    rows = [{"path": "rows.jsonl"}]
    write(tmp_path, below={"helpful": rows, "refused": rows, "kept": rows, "output": "a"})
    write(tmp_path, recipe={"base": "below.yaml", "output": "b"})
    assert load_recipe(tmp_path / "recipe.yaml").output == "b"
    write(tmp_path, strict={"asr_rise": 0.01}, gate={"base": "strict.yaml"})
    assert validated(Budgets, read_yaml(tmp_path / "gate.yaml"), "gate.yaml").asr_rise == 0.01


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"top": {"base": "absent.yaml"}}, "a YAML file at .*the base 'absent.yaml' of .*top.yaml, found none"),
        ({"top": {"base": "list.yaml"}, "list": [1]}, "a mapping in .*the base 'list.yaml' of .*top.yaml, found list"),
        ({"top": {"base": "bad.yaml"}, "bad": "a: [1"}, "Expected YAML in .*the base 'bad.yaml' of .*top.yaml, found"),
        ({"top": {"base": "top.yaml"}}, "bases of .*top.yaml to end, found that .*top.yaml names 'top.yaml'.*Take"),
        ({"top": {"base": "b.yaml"}, "b": {"base": "top.yaml"}}, "found that .*b.yaml names 'top.yaml'.*Take one"),
        (
            {"top": {"base": "b.yaml"}, "b": {"base": "c.yaml"}, "c": {"base": "b.yaml"}},
            "found that .*c.yaml names 'b.yaml'.*Take",
        ),
        ({"top": {"base": {"a": 1}}}, "`base` in .*top.yaml to be a path or a list of paths, found {'a': 1}. Write"),
        ({"top": {"base": ["b.yaml", 3]}}, "to be a path or a list of paths, found .*3"),
        ({"top": {"base": "securetune:base/no.yaml"}}, "the base 'securetune:base/no.yaml' of .*top.yaml, found none"),
    ],
    ids=[
        "missing", "no mapping", "no YAML", "itself", "circle", "circle below", "no path", "no path in the list",
        "not shipped",
    ],
)  # fmt: skip
def test_a_base_that_cannot_be_used_is_named_with_its_file(files, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        read_yaml(write(tmp_path, **files) / "top.yaml")


def test_a_run_is_printed_whole_and_means_the_same(tmp_path):
    write(tmp_path, below=minimal_run(train={"steps": 5}), run={"base": "below.yaml", "train": {"lora_rank": 2}})
    printed = called("config", tmp_path / "run.yaml", "-s", "train.batch_size=3")
    expected = parse_config(minimal_run(train={"steps": 5, "lora_rank": 2, "batch_size": 3}), "run")
    assert printed == dump_config(expected)
    assert parse_config(yaml.safe_load(printed), "printed") == expected


@pytest.mark.parametrize("shipped", COMPARISONS, ids=lambda shipped: shipped.path.stem)
def test_a_comparison_is_printed_whole_and_has_the_same_runs(shipped):
    config = validated(CompareConfig, read_yaml(shipped.path), shipped.name)
    raw = yaml.safe_load(dump_comparison(config))
    printed = validated(CompareConfig, raw, "printed")
    assert raw["threads"] == 1 and raw["run"]["train"]["lora_rank"] == 8 and raw["run"]["model"]["dtype"] == "auto"
    assert raw["run"]["benchmarks"][0]["attack"] is None
    assert run_configs(printed) == run_configs(config)
    assert printed.model_copy(update={"run": config.run}) == config


def test_a_comparison_is_told_from_a_run_by_its_fields(tmp_path):
    write(tmp_path, run=minimal_run())
    write(tmp_path, compare={"run": {"base": "run.yaml"}, "tasks": {"t": {}}, "arms": ["ema"], "output": "o"})
    assert yaml.safe_load(called("config", tmp_path / "compare.yaml"))["sweep_seeds"] == [100]
    with pytest.raises(ConfigError, match=r"model-t-0, found problems: task\.test_rows"):
        called("config", tmp_path / "compare.yaml", "-s", "tasks.t.task.test_rows=1")
    with pytest.raises(ConfigError, match="compare.yaml, found problems: seeds"):
        called("config", tmp_path / "compare.yaml", "-s", "seeds=1")
    with pytest.raises(ConfigError, match="run.yaml, found problems: stepz"):
        called("config", tmp_path / "run.yaml", "-s", "stepz=1")


@pytest.mark.parametrize("name", ["run/demo", "compare/embedded"])
def test_printing_needs_neither_torch_nor_scipy(name):
    code = (
        "import sys; from securetune.cli import app;"
        "app(sys.argv[1:], standalone_mode=False);"
        "print([m for m in ('torch', 'transformers', 'scipy') if m in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "config", str(shipped_config(name).path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_without_a_name_the_shipped_configurations_are_listed():
    lines = called("new").splitlines()
    on_disk = [*ROOT.glob("configs/run/*.yaml"), *ROOT.glob("configs/compare/*.yaml")]
    assert len(lines) == len(on_disk)
    assert any(re.fullmatch(r"run/llama-2-7b-chat +securetune run", line) for line in lines)
    assert not any("base/" in line for line in lines)


def test_every_shipped_configuration_has_a_short_name_of_its_own():
    for config in shipped_configs():
        assert shipped_config(config.path.stem) == shipped_config(config.name) == config


@pytest.mark.parametrize("shipped", shipped_configs(), ids=lambda shipped: shipped.path.stem)
def test_a_copy_stands_alone_and_says_the_same(shipped, tmp_path):
    copy = tmp_path / "mine.yaml"
    assert f"{shipped.command} {copy}" in called("new", shipped.name, copy)
    lines = copy.read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# {shipped.command} {copy}" and tuple(lines[1 : len(shipped.comment)]) == shipped.comment[1:]
    assert yaml.safe_load(copy.read_text(encoding="utf-8")) == read_yaml(shipped.path)


def test_a_copy_is_never_written_over_a_file(tmp_path):
    write(tmp_path, mine="kept: true")
    with pytest.raises(ConfigError, match="Expected a new file, found .*mine.yaml there already. Choose another name"):
        called("new", "demo", tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == "kept: true"


def test_what_cannot_be_copied_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"found 'dmo'\. Did you mean 'demo'\? Choose one of: compare/choice, "):
        called("new", "dmo", tmp_path / "mine.yaml")
    with pytest.raises(ConfigError, match="Expected a file to write, found none"):
        called("new", "demo")
    with pytest.raises(ConfigError, match="Expected a folder at .*absent, found none"):
        called("new", "demo", tmp_path / "absent" / "mine.yaml")


def test_an_installed_package_finds_the_configurations_that_its_wheel_holds(tmp_path):
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    wheel = build["targets"]["wheel"]
    site = tmp_path / "site"
    for package in wheel["packages"]:
        shutil.copytree(ROOT / package, site / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    for source, target in wheel["force-include"].items():
        shutil.copytree(ROOT / source, site / target)

    def new(*words):
        command = [sys.executable, "-m", "securetune", "new", *words]
        environment = {**os.environ, "PYTHONPATH": str(site)}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)

    done = new("llama-2-7b-chat", "mine.yaml")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text()) == read_yaml(shipped_config("llama-2-7b-chat").path)
    shutil.rmtree(site / "securetune" / "configs")
    assert "Expected the shipped configurations in" in new("demo", "other.yaml").stderr


@pytest.mark.parametrize("text", ["asr_rise: 0.05\narms: [ml_lr]\nasr_rise: 1\n", "{asr_rise: 0, 'asr_rise': 1}"])
def test_of_two_equal_keys_none_wins(tmp_path, text):
    write(tmp_path, budgets=text)
    with pytest.raises(
        ConfigError, match="Expected YAML in .*budgets.yaml, found: 'asr_rise' twice in one mapping, again"
    ):
        read_yaml(tmp_path / "budgets.yaml")


def test_equal_keys_are_refused_below_the_top_in_a_base_and_in_an_override(tmp_path):
    write(tmp_path, low="train: {steps: 1, steps: 2}", top={"base": "low.yaml"})
    with pytest.raises(ConfigError, match="the base 'low.yaml' of .*found: 'steps' twice"):
        read_yaml(tmp_path / "top.yaml")
    write(tmp_path, run=minimal_run())
    with pytest.raises(ConfigError, match="Expected YAML in --set train, found: 'steps' twice"):
        called("config", tmp_path / "run.yaml", "-s", "train={steps: 1, steps: 2}")
    write(tmp_path, layers="- {layer: 1, layer: 2}")
    with pytest.raises(ConfigError, match="found: 'layer' twice"):
        called("plan-from-list", tmp_path / "layers.yaml", "--model", "m", "--output", tmp_path / "plan.json")


def test_a_merge_key_may_still_be_put_over(tmp_path):
    write(tmp_path, merging="a: &low {x: 1, y: 1}\nb: &mid {<<: *low, x: 2}\nc: {<<: [*mid, *low], y: 3}\n")
    assert read_yaml(tmp_path / "merging.yaml")["c"] == {"x": 2, "y": 3}


@pytest.mark.parametrize("field", ["asr_rise", "over_refusal_rise", "skill_fall", "task_loss_rise"])
def test_true_is_no_number_in_a_budget(field):
    with pytest.raises(ConfigError, match=f"{field}: expected a number, found true"):
        validated(Budgets, {field: True}, "budgets.yaml")


def test_true_is_no_number_anywhere_in_a_run():
    raw = minimal_run(train={"steps": True, "bf16": True}, seed=False)
    with pytest.raises(ConfigError, match="train.steps: expected a number, found true; seed: .* found false"):
        parse_config(raw, "run.yaml")
    raw = minimal_run(benchmarks=[{"benchmark": "advbench", "limit": True}])
    with pytest.raises(ConfigError, match="benchmarks.0.limit: expected a number, found true"):
        parse_config(raw, "run.yaml")


def test_a_budget_without_an_end_is_refused():
    with pytest.raises(ConfigError, match="task_loss_rise: .*finite"):
        validated(Budgets, {"task_loss_rise": float("inf")}, "budgets.yaml")
