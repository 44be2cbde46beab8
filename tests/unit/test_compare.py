"""The comparison: its grid, how a rate is chosen, its statistics, and a small one from the command line's own entry."""

import csv
import importlib
import json
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest
import yaml
from pydantic import ValidationError

from securetune.base.artifacts import RunFolder
from securetune.compare.grid import CompareConfig, cells, chosen_rates
from securetune.compare.results import Result, collect, frontiers, summaries, to_csv, to_markdown
from securetune.compare.run import _Job, _work, compare_runs
from securetune.data.examples import replaced
from securetune.defences.base.arm import Arm
from securetune.errors import ArtifactError, ConfigError, SecuretuneError
from securetune.flow.asking import COMMITS
from securetune.measures.kinds import BENIGN, HARMFUL
from securetune.measures.pareto import on_front
from securetune.measures.statistics import paired_bootstrap
from securetune.report.reading import read_run
from tests.conftest import settings
from tests.results import answered, eval_result, exactly, model, store


def result(arm, *, rate=1.0, attacks=(False,), learned=True, seed=0, score=1.0, steps=10, loss=1.0):
    return Result(
        model="m", task="t", share=None, seed=seed, arm=arm, rate=rate, steps=steps, loss_ratio=loss,
        is_learned=learned, score=score, over_refusal=0.0, broken=0.0, step_seconds=1.0,
        memory=None, attacks={"harmful": tuple(attacks), "another": (False,)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "names", "rate"), [("ml_lr + ptst@0.5", ("ml_lr", "ptst"), 0.5), ("ema", ("ema",), 1)]
)
def test_an_arm_names_defences_and_a_factor_on_the_rate(text, names, rate):
    arm = Arm.parse(text)
    assert (arm.names, arm.rate) == (names, rate)
    assert Arm.parse(str(arm)) == arm


@pytest.mark.parametrize("text", ["ema@fast", "ema@0", "ema@-1", "ema@inf"])
def test_a_factor_that_is_no_positive_number_is_refused(text):
    with pytest.raises(ConfigError, match="positive factor on the learning rate"):
        Arm.parse(text)


def test_a_rate_is_chosen_by_learning_then_by_safety_then_by_steps():
    rates = chosen_rates(
        [
            result("a", rate=1, attacks=(True, True)),
            result("a", rate=0.5, attacks=(True, False)),
            result("a", rate=0.1, attacks=(False, False), learned=False),
            result("b", rate=1, attacks=(False, False), steps=10),
            result("b", rate=0.5, attacks=(False, False), steps=20),
            result("c", rate=1, learned=False, loss=2.0),
            result("c", rate=0.5, learned=False, loss=1.5),
        ],
        {("m", "t"): dict.fromkeys(["a", "b", "c", "failed everywhere"], 0.3)},
    )
    assert rates == {("m", "t"): {"a": 0.5, "b": 1, "c": 0.5, "failed everywhere": 0.3}}


def test_a_rate_is_never_chosen_where_it_is_judged():
    with pytest.raises(ValidationError, match="none in common"):
        CompareConfig(
            output="o", run={}, tasks={"t": {}}, arms=("ema",), seeds=(0, 1), learning_rates=(1, 2), sweep_seeds=(1,)
        )


def test_cells_are_the_whole_grid_with_the_later_settings_on_top():
    config = CompareConfig(
        output="o",
        run={"train": {"steps": 5, "batch_size": 2}},
        models={"m": {"model": "x"}},
        tasks={"t": {"train": {"steps": 7}}, "u": {}},
        arms=("ema",),
        mixed_shares=(0, 0.1),
    )
    found = cells(config, (0, 1), {("m", "t"): ["ema@0.5"], ("m", "u"): ["ema"]}, config.mixed_shares)
    assert len(found) == 2 * 2 * 2 and len({cell.name for cell in found}) == 8
    assert found[0].settings["train"] == {"steps": 7, "batch_size": 2} and found[0].arms == ("ema@0.5",)
    assert found[-1].settings["task"] == {"name": "u", "mixed": {"share": 0.1}} and found[-1].settings["seed"] == 1


def test_the_paired_bootstrap_sees_a_change_that_is_the_same_in_every_run_and_not_one_that_turns_round():
    same = paired_bootstrap([([True] * 50, [True] * 25 + [False] * 25)] * 3)
    assert same.value == -0.5 and same.n == 150 and -0.65 < same.low < same.high < -0.35
    turns = paired_bootstrap([([True] * 50, [False] * 50), ([False] * 50, [True] * 50)])
    assert turns.value == 0 and turns.low == -1 and turns.high == 1


def test_every_harmful_set_has_its_columns_and_the_worst_one_decides():
    results = [
        Result(**{**vars(result(arm)), "attacks": {"a": tuple(a), "b": tuple(b)}})
        for arm, a, b in (
            ("none", [True, True], [False, True]),
            ("ema", [False, False], [True, True]),
            ("ml_lr", [True, False], [False, False]),
        )
    ]
    assert [arm.asr for arm in results] == [1.0, 1.0, 0.5]
    lines = to_markdown(summaries(results)).splitlines()
    assert "ASR: a, % (by seed)" in lines[2] and "ASR: b, % (by seed)" in lines[2]
    assert lines[4].startswith("| ML-LR | 1 | 50.0 (50) |") and "n over 1 seed: 2 (a), 2 (b)." in lines
    header, first = to_csv(results).splitlines()[:2]
    assert header.endswith("asr,asr: a,asr: b,prompts") and first.endswith("1.0,1.0,0.5,4")


def test_where_harmful_sets_are_many_they_stand_in_a_table_of_their_own():
    attacks = {name: (name == "c", name != "a") for name in "abcd"}
    lines = to_markdown(summaries([Result(**{**vars(result("none")), "attacks": attacks})])).splitlines()
    assert lines[2].startswith("| method | rate x | ASR: worst set, % (by seed) |")
    assert lines[4].startswith("| plain tuning | 1 | 100.0 (100) c | – |")
    assert lines[6] == "| ASR, % (by seed); change against plain tuning, points | plain tuning |"
    assert lines[8:10] == ["| a | 0.0 (0); – |", "| b | 50.0 (50); – |"]


def test_the_pareto_front_is_what_no_other_method_beats():
    arms = summaries(
        [
            result("none", attacks=(True, True), score=0.9),
            result("ema", attacks=(True, False), score=0.9),
            result("ml_lr", attacks=(False, False), score=0.5),
            result("swat", attacks=(True, False), score=0.5),
        ]
    )["m", "t", None]
    assert on_front(arms) == [False, True, True, False]
    assert arms[1].sets["harmful"].change.value == -0.5


def test_report_and_comparison_trade_skill_against_the_worst_harmful_set():
    tuned = model("ml_lr", 0.1)
    worse = eval_result(HARMFUL, exactly(0.4), "h2")
    tuned = replace(tuned, evaluation=replace(tuned.evaluation, benchmarks=[*tuned.benchmarks, worse]))
    (reported,) = importlib.import_module("securetune.report.sections.40_figures").tradeoffs([tuned])
    attacks = {"h": (True,) * 10 + (False,) * 90, "h2": (True,) * 40 + (False,) * 60}
    compared = summaries([Result(**{**vars(result("none", score=None)), "attacks": attacks})])
    ((place, (arm,)),) = frontiers(compared).items()
    assert (reported.asr, reported.skill) == (arm.asr, arm.skill) == (0.4, 1.0)


def test_a_cell_whose_plain_tuning_failed_has_no_results(tmp_path):
    place = {"model": "m", "task": "t", "share": None, "seed": 0}
    sets = [answered(HARMFUL, 1, 4), answered(BENIGN, 2, 4)]
    store(tmp_path, "base", sets, 2.0)
    assert collect(read_run(tmp_path, arms=[]), **place) == []
    store(tmp_path, "none", sets, 1.0)
    with pytest.raises(ArtifactError, match="Expected the cost of training none"):
        collect(read_run(tmp_path, arms=[]), **place)
    store(tmp_path, "ml_lr@0.5", sets, 1.01, is_defence=True, cost={"step_seconds": 2.0, "memory": None})
    store(tmp_path, "none", sets, 1.0, cost={"step_seconds": 1.0, "memory": None})
    plain, held = collect(read_run(tmp_path, arms=["ml_lr@0.5"]), **place)
    assert (held.arm, held.rate, held.is_learned, held.step_seconds) == ("ml_lr", 0.5, True, 2.0)
    assert held.attacks == {"harmful": (True, False, False, False)} and held.over_refusal == 0.5


def test_mixed_rows_replace_their_share_in_place():
    rows, others = [{"id": i} for i in range(20)], [{"other": 0}, {"other": 1}]
    found = replaced(rows, others, 0.25, seed=0)
    assert len(found) == 20 and sum("other" in row for row in found) == 5
    assert all(found[i] == rows[i] for i in range(20) if "id" in found[i])
    assert replaced(rows, others, 0.0, seed=0) == rows


@pytest.fixture(scope="module")
def grid(model_folder, data_folder, tmp_path_factory):
    raw = settings(model_folder, data_folder, tmp_path_factory.mktemp("unused"))
    folder = tmp_path_factory.mktemp("grid")
    del raw["output"]
    raw["task"]["mixed"] = {"path": str(data_folder / "task.jsonl")}
    config = CompareConfig(
        output=str(folder), run=raw, tasks={"letters": {}}, arms=("early_stop", "ema + early_stop"), seeds=(0,),
        learning_rates=(1, 0.5), sweep_seeds=(1,), mixed_shares=(0, 0.5),
    )  # fmt: skip
    return config, compare_runs(config)


def test_a_grid_leaves_a_table_with_every_arm_at_a_rate_of_its_own(grid):
    config, folder = grid
    rows = list(csv.DictReader((folder / "compare.csv").open()))
    assert [(row["arm"], row["share"]) for row in rows] == [
        (arm, share) for share in ("0.0", "0.5") for arm in ("none", "early_stop", "ema+early_stop")
    ]
    assert {float(row["rate"]) for row in rows} <= {1, 0.5}
    table = (folder / "compare.md").read_text()
    assert "n over 1 seed: 12 (harmful)." in table and table.count("| EMA + plain tuning, early stop |") == 2
    assert len(list(folder.glob("pareto-*.svg"))) == 2
    tried = {path.stem.partition("train-")[2] for path in folder.glob("cells/*0%-1/07-train-*.json")}
    assert tried == {"none", "early_stop", "early_stop@0.5", "ema+early_stop", "ema+early_stop@0.5"}


def test_a_finished_grid_computes_nothing_again(grid):
    config, folder = grid
    before = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/0*.json")}
    table = (folder / "compare.md").read_text()
    compare_runs(config)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/0*.json")} == before
    assert (folder / "compare.md").read_text() == table


def test_a_grid_that_runs_already_is_left_alone(grid):
    config, folder = grid
    with RunFolder(folder), pytest.raises(ArtifactError, match="Another securetune process"):
        compare_runs(config)


def test_all_cells_read_a_public_set_at_the_commit_of_its_first_reading(grid, tmp_path, monkeypatch):
    config, _ = grid
    newest, files = iter(["first", "second"]), []
    hub = SimpleNamespace(dataset_info=lambda dataset: SimpleNamespace(sha=next(newest)))
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    monkeypatch.setattr(
        "securetune.compare.run._run", lambda pool, cells, folder: [_work(_Job(cell), folder) for cell in cells][:0]
    )
    monkeypatch.setattr(
        "securetune.compare.run._advance", lambda cell, output, *_, until: files.append(output / COMMITS)
    )
    run = {**config.run, "benchmarks": [{"benchmark": "jbb_harmful"}, {"benchmark": "jbb_benign"}]}
    for _ in range(2):  # the second time as a resumed comparison
        compare_runs(config.model_copy(update={"run": run, "output": str(tmp_path)}))
    kept = {tuple(json.loads(path.read_text())[:2]) for path in files}
    assert len(set(files)) == 2 and kept == {("JailbreakBench/JBB-Behaviors", "first")}


def test_killing_a_grid_ends_its_workers(grid, tmp_path):
    config, _ = grid
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump({**config.model_dump(mode="json"), "output": str(tmp_path / "out")}))
    main = psutil.Popen([sys.executable, "-m", "securetune", "compare", str(file)], stderr=subprocess.DEVNULL)
    while main.is_running() and not list((tmp_path / "out").glob("analysis/*/01-topology.json")):
        time.sleep(0.2)
    workers = main.children()
    main.kill()
    assert workers and not psutil.wait_procs(workers, timeout=10)[1]


def test_a_rate_that_diverges_costs_its_own_result_only(grid, tmp_path):
    config, _ = grid
    changes = {
        "output": str(tmp_path), "arms": ("early_stop",), "learning_rates": (1e30, 1.0), "mixed_shares": (),
        "tasks": {"letters": {"task": {"mixed": {"share": 0}}}},
    }  # fmt: skip
    folder = compare_runs(config.model_copy(update=changes))
    rows = json.loads((folder / "compare.json").read_text())
    assert [(row["arm"], row["rate"]) for row in rows] == [("none", 1.0), ("early_stop", 1.0)]
    assert to_markdown(summaries(Result(**row) for row in rows))


def test_a_mistake_in_a_cell_or_an_arm_shows_before_any_work(grid, tmp_path):
    config, _ = grid
    for changes, message in (
        ({"arms": ("swot",)}, "swot"),
        ({"tasks": {"letters": {"train": {"steps": "many"}}}}, "train.steps"),
    ):
        with pytest.raises(SecuretuneError, match=message):
            compare_runs(config.model_copy(update={**changes, "output": str(tmp_path / "new")}))
    assert not (tmp_path / "new").exists()


def test_two_cells_that_would_share_a_folder_are_refused(grid, tmp_path):
    config, _ = grid
    changes = {"models": {"a-b": {}, "a": {}}, "tasks": {"c": {}, "b-c": {}}, "output": str(tmp_path / "new")}
    with pytest.raises(ConfigError, match="joined by a dash are distinct"):
        compare_runs(config.model_copy(update=changes))


def test_every_arm_is_a_job_that_begins_as_soon_as_plain_tuning_is_done(grid):
    config, _ = grid
    named = {("m", "t"): ["early_stop", "ema"], ("m", "u"): ["ema"]}
    tasks = config.model_copy(update={"models": {"m": {}}, "tasks": {"t": {}, "u": {}}, "mixed_shares": ()})
    one, other = cells(tasks, (0,), named, ())
    assert _Job(one).followers([one, other]) == [_Job(one, "none"), _Job(other, "none")]
    assert _Job(one, "none").followers([one, other]) == [_Job(one, "early_stop"), _Job(one, "ema")]
    assert _Job(one, "ema").followers([one, other]) == []


def test_the_analysis_leaves_out_a_scan_that_no_arm_reads(grid, tmp_path):
    config, _ = grid
    plain, planned = (config.model_copy(update={"arms": (arm,)}) for arm in ("ema", "ml_lr"))
    for place, chosen in enumerate((plain, planned)):
        run = {**config.run, "scan": {**config.run["scan"], "when": "needed"}}
        named = dict.fromkeys(chosen.places, chosen.arms)
        (cell,) = cells(chosen.model_copy(update={"run": run}), (0,), named, (0,))
        assert _work(_Job(cell), tmp_path / str(place))
        done = {path.name[3:] for path in (tmp_path / str(place)).glob("analysis/*/0*.json")}
        assert "features.json" in done and ("scan.json" in done) == (chosen is planned)


def test_a_cells_configuration_names_all_of_its_arms(grid):
    _, folder = grid
    for cell in folder.glob("cells/*0%-0"):
        arms = yaml.safe_load((cell / "config.yaml").read_text())["arms"]
        trained = {path.stem.partition("train-")[2] for path in cell.glob("07-train-*.json")}
        assert set(arms) == trained


def test_rates_of_an_arm_stand_in_one_place():
    with pytest.raises(ValidationError, match="learning_rates"):
        CompareConfig(output="o", run={}, tasks={"t": {}}, arms=("ema@0.5",))
