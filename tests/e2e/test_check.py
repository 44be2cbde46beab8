"""The door `check`: what did tuning do to a model that was tuned elsewhere? As a user meets it, on a tiny model."""

import json
import shutil

import pytest
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import securetune
from securetune.base.artifacts import RunFolder
from securetune.config import parse_config
from securetune.doors.check import check_settings
from securetune.errors import ArtifactError, ConfigError, ModelError
from securetune.flow.pipeline import run
from securetune.report.gate import Budgets
from securetune.report.reading import read_run
from tests.conftest import settings as run_settings
from tests.conftest import tiny_llama, write_jsonl
from tests.e2e.test_faults import struck_in_turn
from tests.faults import Killed, draw_nothing, full, results, watch_native_writers


@pytest.fixture(scope="module")
def small(data_folder):
    """What makes a check quick: the sets and the lengths of the other runs on the tiny model."""
    raw = run_settings("", data_folder, "")
    return {name: raw[name] for name in ("analysis", "benchmarks", "evaluate")}


@pytest.fixture(scope="module")
def tuned_run(model_folder, data_folder, tmp_path_factory):
    """A run that has tuned plainly on the task, with held-out rows in a file of their own."""
    folder = tmp_path_factory.mktemp("run")
    rows = [json.loads(line) for line in (data_folder / "task.jsonl").read_text().splitlines()]
    held_out, trained = (write_jsonl(folder / name, part) for name, part in (("h.jsonl", rows[:10]), ("t.jsonl", rows)))
    raw = run_settings(model_folder, data_folder, folder / "run") | {"arms": ["none"]}
    raw["task"] = {"train": {"path": str(trained)}, "test": {"path": str(held_out)}, "metric": "exact_match"}
    raw["task"]["test_rows"] = 10
    raw["train"] |= {"max_length": 512, "learning_rate": 5e-3}
    run(parse_config(raw, "the run"))
    return folder


@pytest.fixture(scope="module")
def adapter(tuned_run):
    return tuned_run / "run" / "07-train-none"


@pytest.fixture(scope="module")
def checked(model_folder, adapter, tuned_run, small, tmp_path_factory):
    settings = {**small, "task": {"rows": {"path": str(tuned_run / "h.jsonl")}, "metric": "exact_match"}}
    output = tmp_path_factory.mktemp("check") / "out"
    return securetune.check(model_folder, {"mine": adapter}, output=output, settings=settings)


def test_a_check_measures_what_a_run_measures_of_the_same_models(checked, tuned_run):
    ours, theirs = checked.run, read_run(tuned_run / "run")
    for mine, other in (("base", "base"), ("mine", "none")):
        a, b = ours.model(mine).evaluation, theirs.model(other).evaluation
        assert a.benchmarks == b.benchmarks and a.surprise_limit == b.surprise_limit
        assert (a.task.loss, a.task.score) == (b.task.loss, b.task.score)
        assert ours.model(mine).answers == theirs.model(other).answers
    assert ours.model("mine").answers != ours.model("base").answers, "the adapter changes nothing: nothing is compared"
    assert checked.asr == {"before tuning": ours.model("base").worst_asr, "mine": ours.model("mine").worst_asr}


def test_the_report_opens_without_plan_scan_or_training_and_says_nothing_of_them(checked):
    page = checked.report().read_text(encoding="utf-8")
    for word in ("before tuning", "mine", "Harmful requests answered", "Harmless requests refused", "task loss"):
        assert word in page
    for word in ("Plain tuning", "plain tuning", "plainly", "defence", "robust set", "Sensitivity"):
        assert word not in page, word
    assert "Tuning (mine) moved the attack success rate" in checked.verdict and checked.verdict.split(".")[0] in page
    assert "in the order in which they were given" not in page, "one model has no course"
    assert not list(checked.folder.glob("0[0134567]-*"))


def test_without_rows_of_a_task_nothing_is_said_of_one(model_folder, adapter, small, tmp_path):
    checked = securetune.check(model_folder, adapter, output=tmp_path / "out", settings=small)
    assert not any(model.has_task for model in checked.run.models)
    assert {held.what for held in checked.checks} == {"attack success rate", "over-refusal", "broken answers"}
    page = checked.report(tmp_path / "copy.html").read_text(encoding="utf-8")
    assert "task" not in page.split("Provenance")[0].lower().replace("tasks", "")
    with pytest.raises(ArtifactError, match="Expected rows of a task in the evaluation of base, found none"):
        _ = checked.run.model("base").loss


@pytest.fixture
def asked(model_folder, adapter, small, tmp_path):
    """The words of a check in a shell."""
    fields = {name: yaml.safe_dump(value, default_flow_style=True, width=10**6) for name, value in small.items()}
    overrides = [word for name, value in fields.items() for word in ("-s", f"{name}={value.strip()}")]
    return ["check", model_folder, adapter, "--output", tmp_path / "out", *overrides]


def test_the_exit_code_is_the_gates_and_a_second_check_computes_nothing(asked, command, tmp_path):
    (tmp_path / "loose.yaml").write_text(
        "{asr_rise: 1, over_refusal_rise: 1, broken_rise: 1, task_loss_rise: null, unclear: pass}"
    )
    code, err = command(*asked, "--budgets", tmp_path / "loose.yaml")
    assert code == 0, err
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("0*")}
    lenient = (tmp_path / "out" / "09-report.html").read_text(encoding="utf-8")
    assert "safe to ship</b>" in lenient
    (tmp_path / "strict.yaml").write_text("{asr_rise: 0, over_refusal_rise: 0, broken_rise: 0, unclear: fail}")
    code, err = command(*asked, "--budgets", tmp_path / "strict.yaml")
    assert code == 1 and err.count("unchanged, skipped") == 3, err
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("0*")}
    assert {path for path in files if again[path] != files[path]} == set((tmp_path / "out").glob("09-report.*"))
    assert "Allowed rise: attack success rate 100 points" in lenient
    page = (tmp_path / "out" / "09-report.html").read_text(encoding="utf-8")
    assert "Allowed rise: attack success rate 0 points" in page and "safe to ship</b>" not in page
    code, err = command(*asked, "--budgets", tmp_path / "strict.yaml")
    assert code == 1 and err.count("unchanged, skipped") == 4, err
    assert command("gate", tmp_path / "out", "--budgets", tmp_path / "strict.yaml")[0] == 1
    (tmp_path / "wrong.yaml").write_text("arms: [nobody]")
    code, err = command(*asked, "--budgets", tmp_path / "wrong.yaml")
    assert code == 2 and "to name tuned models of ['07-train-none'], found ['nobody']" in err


def test_a_killed_check_goes_on_where_it_was(model_folder, adapter, small, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("securetune.doors.checking.load_given", killed)
        with pytest.raises(KeyboardInterrupt):
            securetune.check(model_folder, adapter, output=tmp_path / "out", settings=small)
    base = tmp_path / "out" / "08-evaluate-base.json"
    stamp = base.stat().st_mtime_ns
    checked = securetune.check(model_folder, adapter, output=tmp_path / "out", settings=small)
    assert base.stat().st_mtime_ns == stamp and checked.run.find("07-train-none") is not None


def test_another_adapter_of_the_same_name_is_measured_again_and_the_model_before_it_is_not(
    model_folder, adapter, small, tmp_path
):
    def stamps():
        copied = {"mine": tmp_path / "adapter"}
        folder = securetune.check(model_folder, copied, output=tmp_path / "out", settings=small).folder
        return {name: (folder / f"08-evaluate-{name}.json").stat().st_mtime_ns for name in ("base", "mine")}

    copy = shutil.copytree(adapter, tmp_path / "adapter")
    first = stamps()
    (copy / "README.md").write_text("Another card changes no answer.")
    assert stamps() == first
    weights = load_file(copy / "adapter_model.safetensors")
    save_file({name: 2 * weight for name, weight in weights.items()}, copy / "adapter_model.safetensors")
    again = stamps()
    assert again["mine"] != first["mine"] and again["base"] == first["base"]


def test_several_tuned_models_stand_side_by_side_a_whole_one_too(model_folder, adapter, small, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    whole = shutil.copytree(model_folder, tmp_path / "whole")
    model.lm_head.weight.data += 0.01
    model.save_pretrained(whole)
    checked = securetune.check(model_folder, [adapter, whole], output=tmp_path / "out", settings=small)
    assert [model.title for model in checked.run.models] == ["before tuning", "07-train-none", "whole"]
    assert {held.arm for held in checked.checks} == {"07-train-none", "whole"}
    assert "Tuning (whole) moved" in checked.verdict
    assert "in the order in which they were given" in checked.report().read_text(encoding="utf-8")
    assert (checked.folder / "09-report-figures/course.svg").is_file()


def test_an_adapter_of_a_model_of_another_shape_is_refused_before_a_model_is_loaded(
    model_folder, small, tmp_path, monkeypatch
):
    monkeypatch.setattr("securetune.flow.asking.load_model", None)
    other = get_peft_model(tiny_llama(), LoraConfig(target_modules=["q_proj"], r=2))
    other.save_pretrained(tmp_path / "other")
    expected = r"found one of a model of another shape: .*q_proj.*\[2, 32\].*\[64, 64\]. Give the model that it was tr"
    with pytest.raises(ModelError, match=expected):
        securetune.check(model_folder, tmp_path / "other", output=tmp_path / "out", settings=small)


def test_an_untrained_adapter_changes_nothing_and_is_refused(model_folder, small, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    get_peft_model(model, LoraConfig(target_modules=["q_proj"], r=2)).save_pretrained(tmp_path / "new")
    with pytest.raises(ModelError, match=r"found one that changes nothing: .*\(lora_B\) are zero"):
        securetune.check(model_folder, tmp_path / "new", output=tmp_path / "out", settings=small)


def test_the_model_itself_is_no_tuned_one(model_folder, small, tmp_path):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    for same in (model_folder, copy):
        with pytest.raises(ModelError, match="Expected a tuned model that differs .*found the same weights"):
            securetune.check(model_folder, same, output=tmp_path / "out", settings=small)


def test_another_model_is_no_tuned_one(model_folder, small, tokenizer, tmp_path):
    tiny_llama(len(tokenizer)).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match=r"to be tuned from .*, found another model: .*instead of"):
        securetune.check(model_folder, tmp_path / "other", output=tmp_path / "out", settings=small)


def test_a_runs_folder_is_not_written_over(model_folder, adapter, small, tuned_run):
    with pytest.raises(ArtifactError, match="Expected a new folder, or that of a check, at .*, found a run's"):
        securetune.check(model_folder, adapter, output=tuned_run / "run", settings=small)
    assert RunFolder(tuned_run / "run").read("report") is not None


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("evaluate.engine", "vllm", "evaluate: .*leave `engine` out"),
        ("evalute", {}, "evalute: Extra inputs"),
        ("tuned", {}, "tuned: .*at least 1"),
        ("tuned", {"base": {"path": "x"}}, "tuned: .*something else than 'base'"),
    ],
)
def test_wrong_settings_are_named(field, value, message):
    with pytest.raises(ConfigError, match=message):
        check_settings("m", "t", settings={field: value})


def test_names_are_as_short_as_tells_them_apart(tmp_path):
    def names(*paths):
        return list(check_settings("m", list(paths)).tuned)

    assert names("a/checkpoint-1", "a/checkpoint-2/") == ["checkpoint-1", "checkpoint-2"]
    assert names("a/last", "b/last") == ["a/last", "b/last"] and names("x/base") == ["x/base"]
    assert check_settings("m", "out/last").output == "runs/check-last"
    with pytest.raises(ConfigError, match="Expected tuned models that differ, found the same path twice"):
        names("a/last", "./a/last/")


def test_budgets_name_the_tuned_models(model_folder, adapter, small, tmp_path):
    with pytest.raises(ConfigError, match=r"to name tuned models of \['adapter'\], found \['none'\]"):
        securetune.check(
            model_folder, {"adapter": adapter}, output=tmp_path / "o", settings=small, budgets=Budgets(arms=("none",))
        )


def of_an_evaluation(point: str) -> bool:
    """The renames of every stage, and one file cut in half; the rest is tried by the exhaustive tests."""
    what, path = point.split()
    return what in ("rename", "half", "mkdir") and not path.endswith((".svg", ".png", ".csv", ".tex", ".md"))


SOME = pytest.param(of_an_evaluation, id="cheap")
EVERY = pytest.param(lambda point: True, id="all", marks=pytest.mark.exhaustive)


@pytest.mark.parametrize("among", [SOME, EVERY])
def test_a_check_that_is_killed_at_each_of_its_writes_in_turn_finds_the_same(
    among, model_folder, adapter, small, tmp_path, monkeypatch
):
    watch_native_writers(monkeypatch)
    draw_nothing(monkeypatch)
    securetune.check(model_folder, adapter, output=tmp_path / "whole", settings=small)
    root = tmp_path / "killed"
    root.mkdir()
    points = struck_in_turn(
        lambda: securetune.check(model_folder, adapter, output=root / "out", settings=small), root, Killed, among=among
    )
    assert results(root / "out") == results(tmp_path / "whole")
    assert "rename out/08-evaluate-base.json" in points and len(points) > 8
    print(f"{len(points)} kills")


@pytest.mark.parametrize("among", [SOME, EVERY])
def test_a_disk_that_is_full_at_each_write_of_a_check_in_turn_is_one_clear_line_and_costs_nothing(
    among, model_folder, adapter, small, asked, command, tmp_path, monkeypatch
):
    watch_native_writers(monkeypatch)
    draw_nothing(monkeypatch)
    securetune.check(model_folder, adapter, output=tmp_path / "whole", settings=small)
    ends = []
    points = struck_in_turn(lambda: ends.append(command(*asked)), tmp_path, full, among=among)
    for point, (code, text) in zip(points, ends, strict=False):
        lines = [line for line in text.splitlines() if line.startswith("Error")]
        assert code == 2 and len(lines) == 1 and "Traceback" not in text, (point, text)
        assert "Expected room on the disk for" in lines[0], (point, text)
    assert len(ends) == len(points) + 1 and ends[-1][0] in (0, 1), ends[-1]
    assert results(tmp_path / "out") == results(tmp_path / "whole") and len(points) > 8
    print(f"{len(points)} times full")


def test_the_model_before_tuning_may_be_an_adapter_over_another(model_folder, small, tmp_path):
    """Against itself, merged by PEFT, nothing changes."""
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=1, target_modules=["v_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    shutil.copytree(
        model_folder,
        tmp_path / "merged",
        ignore=shutil.ignore_patterns("*.safetensors", "config.json"),
        dirs_exist_ok=True,
    )
    checked = securetune.check(
        tmp_path / "adapter", {"same": tmp_path / "merged"}, output=tmp_path / "out", settings=small
    )
    base, same = checked.run.model("base"), checked.run.model("same")
    assert [found.rates for found in same.answers] == [found.rates for found in base.answers]
    for mine, theirs in zip(same.answers, base.answers, strict=True):
        assert [answer.text for answer in mine.answers] == [answer.text for answer in theirs.answers]
