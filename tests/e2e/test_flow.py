"""The flow as a user meets it: the command line, skipping, killing and resuming, and bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from securetune.base.artifacts import STAGES
from securetune.cli import entry
from securetune.compare.grid import CompareConfig
from securetune.compare.run import check
from securetune.config import parse_config, read_yaml, validated
from securetune.flow.pipeline import run
from securetune.perturb.base.adapter import AdapterChange
from securetune.report.reading import read_run
from securetune.report.sections import SECTIONS
from securetune.testbed.demo import demo_settings
from securetune.testbed.recipe import load_recipe
from tests.conftest import settings, write_jsonl
from tests.golden.test_vllm import stand_in
from tests.results import rewrite

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path for folder in ("run", "compare") for path in (ROOT / "configs" / folder).glob("*.yaml"))


def cli(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "securetune", *map(str, words)], capture_output=True, text=True, cwd=ROOT, **options
    )


def config_file(folder, raw):
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(model_folder, data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow")
    path = config_file(folder, settings(model_folder, data_folder, folder / "run"))
    return path, folder / "run", cli("run", path)


def test_a_run_ends_with_the_table_and_leaves_every_artifact(finished):
    _, folder, done = finished
    assert done.returncode == 0, done.stderr
    for word in ("before tuning", "plain tuning", "ML-LR", "SWAT", "ASR", "over-refusal", "task metric"):
        assert word in done.stdout
    for number, stage in enumerate(STAGES):
        assert list(folder.glob(f"{number:02d}-{stage}*.json")), stage
    assert not list(folder.glob(".*partial*"))


def test_terminal_plan_and_report_say_whether_other_prompts_choose_the_same_modules(finished, tmp_path):
    _, folder, done = finished
    search = json.loads((folder / "05-search.json").read_text())["data"]
    assert [(of["halves"], of["first_layer"]) for of in search["stability"]] == [("prompts", 0), ("prompts", 1)]
    (note,) = [
        note for note in json.loads((folder / "06-plan-ml_lr.json").read_text())["data"]["notes"] if "half" in note
    ]
    assert note.startswith("Found from the other half of the prompts, ") and "(chance: " in note
    assert note in " ".join(done.stdout.split()), "the terminal breaks lines"
    html = (folder / "09-report.html").read_text(encoding="utf-8")
    assert note in html and "Stability of the choice of modules" in html

    old = shutil.copytree(folder, tmp_path / "old")
    rewrite(old / "05-search.json", lambda stored: stored["data"].pop("stability"))
    rewrite(old / "04-scan.json", lambda stored: [
        draw.pop(name) for draws in stored["data"]["draws"].values() for draw in draws for name in list(draw)
        if name.startswith("part:")
    ])  # fmt: skip
    modules = SECTIONS.get("60_modules").data(read_run(old))
    assert modules.stability.rows == [] and modules.other_halves == [], "one draw of an older version tells nothing"


def test_a_second_run_computes_nothing(finished):
    path, folder, _ = finished
    before = {p: p.stat().st_mtime_ns for p in folder.glob("0*.json")}
    again = cli("run", path)
    assert again.returncode == 0
    assert all("unchanged, skipped" in line for line in again.stderr.splitlines() if line.startswith(STAGES))
    assert {p: p.stat().st_mtime_ns for p in folder.glob("0*.json")} == before


def test_changing_the_defence_redoes_plans_and_what_follows_but_not_the_scan(finished, tmp_path):
    path, folder, _ = finished
    copy = shutil.copytree(folder, tmp_path / "run")
    done = cli("plan", path, "--set", "defence.ml_lr.sensitive_lr_mult=0.3", "--set", f"output={copy}")
    lines = {line.split("  ")[0].strip(): line for line in done.stderr.splitlines()}
    assert "skipped" in lines["scan"] and "skipped" in lines["search"]
    assert "skipped" not in lines["plan ml_lr"]


def test_other_benchmarks_redo_the_probe_but_not_the_scan(finished, tmp_path):
    path, folder, _ = finished
    copy = shutil.copytree(folder, tmp_path / "run")
    turned = yaml.safe_dump(yaml.safe_load(path.read_text())["benchmarks"][::-1], default_flow_style=True)
    done = cli("search", path, "--set", f"benchmarks={turned}", "--set", f"output={copy}")
    lines = {line.split("  ")[0].strip(): line for line in done.stderr.splitlines()}
    assert "skipped" not in lines["probe"]
    assert "skipped" in lines["scan"] and "skipped" in lines["search"]


def test_the_adapter_opens_with_plain_peft(finished, model_folder):
    _, folder, _ = finished
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    PeftModel.from_pretrained(base, folder / "07-train-ml_lr")


def test_a_published_adapter_opens_with_plain_peft_and_its_card_holds_the_results(finished, model_folder, tmp_path):
    _, folder, _ = finished
    done = cli("publish", folder, "ml_lr", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_folder), tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.library_name == "peft" and "base_model" not in card.data.to_dict()
    stored = json.loads((folder / "08-evaluate-ml_lr.json").read_text())["data"]["benchmarks"]
    assert [result.metric_value for result in card.data.eval_results] == [
        rate["value"] for benchmark in stored for rate in benchmark["rates"].values()
    ]
    assert "| ML-LR |" in card.content and "| before tuning |" in card.content
    again, wrong = cli("publish", folder, "ml_lr", tmp_path / "out"), cli("publish", folder, "swot", tmp_path / "new")
    assert "Choose another output" in again.stderr and again.returncode == 2
    assert "has done ['base', 'ml_lr', 'none', 'swat']" in wrong.stderr and not (tmp_path / "new").exists()


def test_a_drop_of_one_draw_stands_without_an_error(finished):
    page = (finished[1] / "09-report.html").read_text(encoding="utf-8")
    assert "Drop of each of the 14 modules" in page and "1 draw per module" in page
    assert "± nan" not in page and "[nan" not in page


def test_base_and_tuned_models_are_compared_on_the_same_prompts(finished):
    _, folder, _ = finished
    prompts = []
    for arm in ("base", "none", "ml_lr", "swat"):
        stored = json.loads((folder / f"08-evaluate-{arm}.answers.json").read_text())
        prompts.append([a["prompt"] for b in stored["benchmarks"] for a in b["answers"]])
        summary = json.loads((folder / f"08-evaluate-{arm}.json").read_text())["data"]
        for benchmark in summary["benchmarks"]:
            for estimate in (*benchmark["rates"].values(), benchmark["coherent"]):
                assert estimate["n"] == 12 and estimate["low"] <= estimate["value"] <= estimate["high"]
            assert all((test is None) == (arm == "base") for test in benchmark["against_base"].values())
    assert all(p == prompts[0] for p in prompts)


def test_an_evaluation_by_vllm_finds_what_transformers_finds(finished, tmp_path):
    path, folder, _ = finished
    copy = shutil.copytree(folder, tmp_path / "run")
    stand_in(tmp_path)
    engine = ("--set", "evaluate.engine=vllm", "--set", f"output={copy}")
    done = cli("evaluate", path, *engine, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    for arm in ("base", "none", "ml_lr"):
        found, expected = (json.loads((f / f"08-evaluate-{arm}.answers.json").read_text()) for f in (copy, folder))
        assert found["task"] == expected["task"]
        for one, other in zip(found["benchmarks"], expected["benchmarks"], strict=True):
            assert [a["text"] for a in one["answers"]] == [a["text"] for a in other["answers"]]
            assert [a["margin"] for a in one["answers"]] == pytest.approx(
                [a["margin"] for a in other["answers"]], abs=1e-3
            )
    assert len(list(copy.glob(".answers-*"))) == 2 * len(list(folder.glob(".answers-*")))


def test_full_fine_tuning_runs_too(model_folder, data_folder, tmp_path):
    raw = settings(model_folder, data_folder, tmp_path / "run") | {"arms": ["none", "ml_lr"]}
    raw["train"] |= {"adapter": "full", "learning_rate": 1e-4}
    done = cli("run", config_file(tmp_path, raw))
    assert done.returncode == 0, done.stderr
    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "07-train-ml_lr")


def launched(*words):
    """The command line in two processes, as accelerate starts them."""
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines",
         "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "securetune",
         *map(str, words)],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip


def test_two_processes_share_a_scan_and_find_what_one_finds(model_folder, data_folder, tmp_path):
    found = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        config = config_file(tmp_path / name, settings(model_folder, data_folder, tmp_path / name / "run"))
        done = (
            launched("scan", config)
            if name == "two"
            else cli("scan", config, env={**os.environ, "OMP_NUM_THREADS": "1"})
        )
        assert done.returncode == 0, done.stderr
        found[name] = json.loads((tmp_path / name / "run" / "04-scan.json").read_text())["data"]
    assert found["one"] == found["two"]
    journals = sorted((tmp_path / "two" / "run").glob("04-scan.*.journal"))
    shares = [path.read_text().count(".q/0") for path in journals]
    assert len(journals) == 2 and all(shares), "both processes have measured something"


def test_what_cannot_be_shared_is_refused_in_several_processes(model_folder, data_folder, tmp_path):
    done = launched("train", config_file(tmp_path, settings(model_folder, data_folder, tmp_path / "run")))
    assert done.returncode != 0 and "Expected one process for the stage train, found 2" in done.stderr


@pytest.mark.parametrize("method", ["race", "gradient"])
def test_a_fast_scan_carries_the_flow_to_the_report(method, model_folder, data_folder, tmp_path):
    raw = settings(model_folder, data_folder, tmp_path / "run") | {"arms": ["none"]}
    raw["scan"] |= {"method": method, "draws": 2}
    run(parse_config(raw, "test"))
    html = (tmp_path / "run" / "09-report.html").read_text(encoding="utf-8")
    assert f" per module ({method})" in html and "cannot be compared" in html
    assert ("Racing read" in html) == (method == "race")
    assert ("Found from the other half of the prompts" in html) == (method == "race")


def test_tuned_changes_and_judged_answers_come_from_the_users_own_task(model_folder, data_folder, tmp_path):
    raw = settings(model_folder, data_folder, tmp_path / "run")
    raw["scan"] = {"draws": 2, "prompts": 10, "perturbation": "tuned", "tuning_steps": 2, "answers": 4, "strength": 1.0}
    found = run(parse_config(raw, "test"), until="search")
    scan = json.loads((found / "04-scan.json").read_text())
    adapters = [AdapterChange(folder) for folder in sorted(found.glob("04-scan-tuned-*"))]
    assert len(adapters) == 2, "one short run per draw"
    modules = json.loads((found / "01-topology.json").read_text())["data"]["modules"].values()
    for module in modules:
        first, second = (adapter(module["path"]) for adapter in adapters)
        assert list(first.shape) == module["shape"] and first.any() and not torch.equal(first, second)
    assert all("refused_answers" in draw for draws in scan["data"]["draws"].values() for draw in draws)
    raw["task"] |= {"test_rows": 12}
    run(parse_config(raw, "test"), until="scan")
    assert json.loads((found / "04-scan.json").read_text())["inputs"] != scan["inputs"], "other data, another scan"


@pytest.mark.parametrize("delay", [0.0, 0.4, 1.5, 4.0])
def test_kill_9_loses_nothing_and_the_result_is_the_same(delay, finished, tmp_path):
    path, whole, _ = finished
    raw = yaml.safe_load(path.read_text()) | {"output": str(tmp_path / "run")}
    raw["train"] = raw["train"] | {"save_every": 2}
    config = config_file(tmp_path, raw)
    victim = subprocess.Popen(
        [sys.executable, "-m", "securetune", "run", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "03-probe.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(delay)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    done = cli("run", config)
    assert done.returncode == 0, done.stderr
    for name in ("04-scan.json", "05-search.json", "08-evaluate-none.json", "08-evaluate-swat.json"):
        expected, found = (json.loads((folder / name).read_text())["data"] for folder in (whole, tmp_path / "run"))
        assert expected == found, name


def bad(field, value):
    def change(raw, folder):
        *parents, last = field.split(".")
        section = raw
        for parent in parents:
            section = section[parent]
        section[last] = value(folder) if callable(value) else value

    return change


def folder_without_template(folder):
    import shutil

    copy = folder / "no-template"
    shutil.copytree(BAD["model_folder"], copy)
    (copy / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((copy / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (copy / "tokenizer_config.json").write_text(json.dumps(config))
    return str(copy)


BAD: dict[str, Path] = {}
EMPTY = lambda folder: str(write_jsonl(folder / "empty.jsonl", []))  # noqa: E731
WRONG_ROW = lambda folder: str(  # noqa: E731
    write_jsonl(folder / "wrong.jsonl", [{"prompt": "Q", "completion": "A"}, {"foo": 1}])
)
FILES = lambda folder: str(folder)  # noqa: E731


def with_plan_file(changes):
    def change(raw, folder):
        plan = {"method": "mine", "model": {"id": "x"}, "entries": [{"pattern": ".*"}]}
        if "fingerprint" in changes:
            plan["model"]["fingerprint"] = changes["fingerprint"]
        plan |= {key: value for key, value in changes.items() if key == "entries"}
        (folder / "plan.json").write_text(json.dumps(plan))
        raw |= {"arms": ["plan_file"], "defence": {"plan_file": {"path": str(folder / "plan.json")}}}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (bad("model", "./no/such/model"), "Expected a model folder at './no/such/model', found nothing there"),
        (bad("model", FILES), "Expected config.json in the model folder"),
        (bad("model", folder_without_template), "Expected a chat template"),
        (bad("task.train.path", EMPTY), "found an empty file"),
        (bad("task.train.path", WRONG_ROW), "wrong.jsonl line 2"),
        (bad("analysis.malicious.path", "./nothing.jsonl"), "Expected a file of rows at ./nothing.jsonl"),
        (bad("train.learning_rate", 1e30), "Expected a finite"),
        (bad("train.learning_rte", 1.0), "train.learning_rte: Extra inputs are not permitted"),
        (bad("task.metric", "pattern"), "the metric 'pattern' and the field `pattern` need each other"),
        (bad("arms", ["ml_lrr"]), "Did you mean 'ml_lr'?"),
        (bad("scan.signal", "vibes"), "No signal is called 'vibes'"),
        (bad("scan.perturbation", "lowrnk"), "Did you mean 'lowrank'?"),
        (with_plan_file({"entries": [{"pattern": "no_such_proj"}]}), "pattern 'no_such_proj' to match a parameter"),
        (with_plan_file({"fingerprint": "another"}), "Expected the model this plan was made for"),
        (with_plan_file({"entries": "x"}), "found a problem at entries"),
        (bad("benchmarks", []), "at least one harmful and one benign"),
    ],
)
def test_bad_input_ends_in_one_clear_error(change, message, model_folder, data_folder, tmp_path, told):
    BAD["model_folder"] = model_folder
    raw = settings(model_folder, data_folder, tmp_path / "run")
    change(raw, tmp_path)
    found = told("run", config_file(tmp_path, raw))
    assert message in " ".join(found.split()) and "Traceback" not in found


@pytest.fixture
def told(monkeypatch, capsys):
    """What a command that ends with code 2 says; in this process, as starting one takes longer than most commands."""

    def run_here(*words):
        monkeypatch.setattr(sys, "argv", ["securetune", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            entry()
        assert ended.value.code == 2
        return capsys.readouterr().err

    return run_here


def test_a_traceback_comes_with_debug_only(tmp_path):
    plain, debugged = (cli(*words, "topology", tmp_path / "absent.yaml") for words in ((), ("--debug",)))
    assert plain.returncode == debugged.returncode == 2
    assert "Traceback" not in plain.stderr and "Traceback" in debugged.stderr


def test_an_override_is_checked_like_the_file(finished, told):
    path, _, _ = finished
    assert "train.steps" in told("run", path, "--set", "train.steps=many")
    assert "field=value" in told("run", path, "--set", "train.steps")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_config_is_valid_and_names_its_command(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    commands = {"compare": ["compare"], "run": ["run", "train-base"]}[path.parent.name]
    named = [command for command in commands if first == f"# securetune {command} {path.relative_to(ROOT)}"]
    if named == ["train-base"]:
        load_recipe(path)
    elif named == ["compare"]:
        check(validated(CompareConfig, read_yaml(path), path.name))
    else:
        assert named == ["run"], first
        parse_config(read_yaml(path), str(path))


def test_every_config_stands_in_one_of_the_folders():
    bases = set((ROOT / "configs" / "base").glob("*.yaml"))
    assert len(CONFIGS) == 23 and {*CONFIGS, *bases} == set((ROOT / "configs").rglob("*.yaml"))
    for base in bases:
        first = base.read_text(encoding="utf-8").split("\n", 1)[0]
        assert first.startswith("# ") and "not runnable alone" in first, base


def test_the_demo_config_is_the_demo():
    written = parse_config(read_yaml(ROOT / "configs" / "run" / "demo.yaml"), "demo.yaml")
    assert written == parse_config(demo_settings("messages", Path("runs/demo-scan"), 0), "the demo")


def test_tokenizer_round_trip_keeps_the_chat_template(model_folder):
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|user|>Hi<|end|><|assistant|>"
