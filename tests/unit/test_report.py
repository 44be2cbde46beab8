"""The report: tables, verdicts, and that model output cannot become markup."""

import json
import re
import shutil
import sys
from dataclasses import replace

import pytest
import yaml

from securetune.base.artifacts import RunFolder, digest_path
from securetune.config import parse_config
from securetune.errors import RegistryError
from securetune.evaluate.answers import Answer
from securetune.evaluate.coherence import is_coherent
from securetune.evaluate.task import is_correct
from securetune.flow.pipeline import run
from securetune.measures.kinds import HARMFUL
from securetune.measures.loss_target import LossTarget
from securetune.measures.statistics import mcnemar, mean, proportion
from securetune.report import sections
from securetune.report.card import render_card
from securetune.report.change import recovered
from securetune.report.reading import read_run
from securetune.report.render import render_report
from securetune.report.verdict import advice, verdict
from tests.conftest import settings
from tests.results import eval_result, exactly, model, rewrite

PAYLOAD = "<script>alert('x')</script><img src=x onerror=alert(1)>"


def row(arm, asr, loss=1.0):
    return model(arm, asr, loss=loss, is_defence=arm == "ml_lr")


def test_a_baseline_is_never_named_as_the_best_defence():
    told = verdict([row("base", 0.0), row("none", 0.5), row("random_plan", 0.0), row("ml_lr", 0.4)])
    assert "ml_lr ended" in told and "random_plan" not in told


def with_set(found, asr):
    """The model with a second harmful set."""
    sets = [*found.benchmarks, eval_result(HARMFUL, exactly(asr), "h2")]
    return replace(found, evaluation=replace(found.evaluation, benchmarks=sets))


def test_a_defence_that_kept_one_set_and_lost_another_is_not_recommended():
    rows = [
        with_set(row("base", 0.0), 0.1),
        with_set(row("none", 0.5), 0.9),
        with_set(row("ml_lr", 0.0), 0.6),
    ]
    told = verdict(rows)
    assert "Of all 2 harmful sets" in told and "its worst is h2, +50 points" in told
    assert "No defence kept the refusals on every set" in advice(rows)
    assert "Use the model tuned with" in advice([*rows[:2], with_set(row("ml_lr", 0.0), 0.12)])
    assert "says little" in verdict([with_set(row("base", 0.0), 0.1), with_set(row("none", 0.0), 0.19)])
    assert "says little" not in verdict([with_set(row("base", 0.0), 0.1), with_set(row("none", 0.0), 0.9)])


def test_a_loss_target_is_strict_where_plain_tuning_gained_little():
    usual, small = LossTarget(start=0.5, plain=0.1), LossTarget(start=4.90, plain=4.87)
    assert usual.is_matched(0.1019) and not usual.is_matched(0.1021)
    assert not small.is_matched(4.90), "the model before tuning is no match"
    assert small.is_reached(4.87) and not small.is_reached(4.871)
    assert small.is_matched(4.80) and not small.is_matched(4.77), "a lower loss counts, within 2 %"


def test_recovered_is_the_share_of_the_rise_taken_back_and_silent_below_ten_points():
    rows = [row("base", 0.1), row("none", 0.5), row("ml_lr", 0.2)]
    assert recovered(rows, rows[2]) == pytest.approx(0.75)
    assert recovered(rows, rows[0]) is None
    small = [row("base", 0.1), row("none", 0.19), row("ml_lr", 0.1)]
    assert recovered(small, small[2]) is None


def test_the_verdict_names_a_rise_that_is_too_small_and_a_loss_that_is_not_matched():
    assert "says little" in verdict([row("base", 0.0), row("none", 0.05), row("ml_lr", 0.0)])
    told = verdict([row("base", 0.0), row("none", 0.5), row("ml_lr", 0.1, loss=1.1)])
    assert "80 % of the rise" in told and "did not reach" in told
    told = verdict([row("base", 0.0), row("none", 0.5), row("ml_lr", 0.1, loss=0.9)])
    assert "more than 2 % below" in told and "did not reach" not in told


@pytest.fixture(scope="module")
def finished(model_folder, data_folder, tmp_path_factory):
    raw = settings(model_folder, data_folder, tmp_path_factory.mktemp("run") / "r")
    made = []
    folder = RunFolder(run(parse_config(raw, "test"), announce=lambda a, _: made.append(a)))
    return folder, made, raw


def test_the_report_is_one_file_without_outside_references(finished):
    folder, made, _ = finished
    html = folder.file("report", suffix=".html").read_text(encoding="utf-8")
    assert len(html) < 3_000_000
    outside = re.findall(r"(?:src|href|action)\s*=\s*[\"'](?!#|data:)[^\"']*", html)
    assert not outside
    assert "<script" not in html
    for title in ("before tuning", "plain tuning", "ML-LR", "SWAT"):
        assert title in html


def test_the_probe_is_tested_on_every_benchmark(finished):
    folder, _, _ = finished
    found = {entry["benchmark"]: entry for entry in folder.read("probe").data["transfer"]}
    assert set(found) == {"harmful", "benign"}
    assert found["harmful"]["accuracy"]["n"] == 12 and found["harmful"]["accuracy"]["value"] > 0.6
    assert "prompts from elsewhere" in folder.file("report", suffix=".html").read_text(encoding="utf-8")


def test_two_kinds_of_probe_and_every_layer_are_tested_on_the_same_prompts(finished):
    folder, _, _ = finished
    data = folder.read("probe").data
    assert len(data["layers"]) == 2
    for scores in (data["sigmoid"], *data["layers"]):
        assert {name: test["n"] for name, test in scores["tests"].items()} == {
            name: test["n"] for name, test in data["tests"].items()
        }
        assert [entry["accuracy"]["n"] for entry in scores["transfer"]] == [12, 12]
    assert data["sigmoid"]["tests"]["train"]["accuracy"] > 0.9
    assert data["layers"][-1]["tests"]["train"] == pytest.approx(data["tests"]["train"], abs=0.1)


def test_the_table_has_a_row_per_model_with_n_and_interval(finished):
    folder, _, _ = finished
    lines = folder.file("report", suffix=".md").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + 4 and "(n=12)" in lines[0]
    assert all(re.search(r"\d\.\d % \[\d+\.\d, \d+\.\d\]", line) for line in lines[2:])


def test_model_output_and_prompts_are_escaped(finished, tmp_path):
    shutil.copytree(finished[0].path, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    for path in folder.path.glob("08-evaluate-*.answers.json"):
        stored = json.loads(path.read_text(encoding="utf-8"))
        for benchmark in stored["benchmarks"]:
            for answer in benchmark["answers"]:
                answer["text"] = answer["prompt"] = PAYLOAD
        path.write_text(json.dumps(stored), encoding="utf-8")
        artifact = path.with_name(path.name.replace(".answers", ""))
        rewrite(artifact, lambda signed, path=path: signed.update(files={path.name: digest_path(path)}))
    for arm in folder.variants("evaluate"):  # the others belong to the base with its new answers
        rewrite(folder.file("evaluate", arm), lambda signed: signed["inputs"].pop("base", None))
    html = render_report(read_run(folder))
    assert "<script" not in html and "<img" not in html
    assert "&lt;script&gt;alert(" in html


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A folder in which a section counts as one of the package's."""
    spec = sections.__spec__
    own = [*spec.submodule_search_locations, str(tmp_path)]
    monkeypatch.setattr(spec, "submodule_search_locations", own)
    monkeypatch.setattr(sections, "__path__", own)
    yield tmp_path
    sys.modules.pop("securetune.report.sections.55_sixth_wheel", None)


def write_section(folder, data):
    (folder / "55_sixth_wheel.py").write_text(
        "from securetune.report.sections.base.section import Section\n"
        f"section = Section(title='Sixth', anchor='sixth', navigation='The wheel', data=lambda run: {data})\n"
    )
    (folder / "55_sixth_wheel.html").write_text("<p>It turns {{ data }} times.</p>")


def test_a_section_is_two_files_and_stands_in_the_page_and_in_the_navigation(finished, wheel):
    write_section(wheel, "'<b>' + str(len(run.models))")
    html = render_report(read_run(finished[0]))
    assert "<p>It turns &lt;b&gt;4 times.</p>" in html, "and what it shows is escaped"
    assert '<a href="#probe">Probe</a><a href="#sixth">The wheel</a><a href="#modules">Modules</a>' in html
    assert (
        html.index('<section id="probe">') < html.index('<section id="sixth">') < html.index('<section id="modules">')
    )


def test_a_section_without_data_is_left_out(finished, wheel):
    write_section(wheel, None)
    html = render_report(read_run(finished[0]))
    assert "It turns" not in html and "sixth" not in html


def test_another_section_makes_another_report(finished, wheel):
    before = sections.sections_digest()
    assert finished[0].read("report").inputs["sections"] == before
    write_section(wheel, 1)
    new = sections.sections_digest()
    write_section(wheel, 2)
    (wheel / "__pycache__").mkdir()
    (wheel / "__pycache__" / "x.pyc").write_text("")
    assert len({before, new, sections.sections_digest()}) == 3


def test_every_section_has_an_anchor_of_its_own():
    anchors = [sections.SECTIONS.get(name).anchor for name in sections.in_order()]
    assert len(set(anchors)) == len(anchors) == 11 and all(anchors)


def test_a_section_that_is_half_there_is_named(wheel):
    write_section(wheel, 1)
    (wheel / "55_sixth_wheel.html").unlink()
    with pytest.raises(RegistryError, match="beside it, found no 55_sixth_wheel.html. Write it"):
        sections.in_order()
    (wheel / "55_sixth_wheel.py").rename(wheel / "sixth_wheel.py")
    with pytest.raises(RegistryError, match="called <number>_<name>, found 'sixth_wheel'. Begin with a number"):
        sections.in_order()


def test_a_card_names_each_rate_as_its_kind_does(finished, tmp_path):
    shutil.copytree(finished[0].path, tmp_path / "run")

    def with_skill(stored):
        first = stored["data"]["benchmarks"][0]
        stored["data"]["benchmarks"].append({**first, "benchmark": "GSM8K", "kind": "skill"})

    rewrite(tmp_path / "run" / "08-evaluate-ml_lr.json", with_skill)
    metadata = yaml.safe_load(render_card(read_run(tmp_path / "run"), "ml_lr").split("---")[1])
    types = {
        result["dataset"]["name"]: {metric["type"] for metric in result["metrics"]}
        for result in metadata["model-index"][0]["results"]
    }
    assert types == {"harmful": {"attack_success_rate"}, "benign": {"over_refusal_rate"}, "GSM8K": {"accuracy"}}


def test_wilson_interval_equals_the_textbook_value():
    found = proportion([True] * 8 + [False] * 2)
    assert (found.value, found.n) == (0.8, 10)
    assert (found.low, found.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert proportion([False] * 50).low == 0


def test_mcnemar_counts_discordant_pairs():
    found = mcnemar([False] * 10, [True] * 5 + [False] * 5)
    assert (found.gained, found.lost) == (5, 0)
    assert found.p == pytest.approx(2 * 0.5**5)
    assert mcnemar([True], [True]).p == 1


def test_mean_interval_is_students():
    found = mean([1.0, 2.0, 3.0])
    assert found.value == 2
    assert found.high - 2 == pytest.approx(4.3027 / 3**0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "coherent"),
    [("A short answer.", True), ("", False), ("...", False), ("the cat sat on the mat and slept", True)],
)
def test_coherence(text, coherent):
    assert is_coherent(text) is coherent
    assert not is_coherent("la " * 30)


def test_final_number_is_compared_as_a_number():
    answer = Answer(prompt="", text="So 1,200 - 200 = 1,000.")
    assert is_correct(answer, "#### 1000", "final_number")
    assert not is_correct(answer, "#### 1200", "final_number")
    assert not is_correct(Answer(prompt="", text="none"), "#### 1", "final_number")
    assert is_correct(Answer(prompt="", text=" a "), "a", "exact_match")


def test_the_metric_pattern_asks_for_the_form_of_the_whole_answer():
    wanted = "Step 1: .+ Done"
    assert is_correct(Answer(prompt="", text="Step 1: go\non. Done"), "unused", "pattern", wanted)
    assert not is_correct(Answer(prompt="", text="Well. Step 1: go on. Done"), "unused", "pattern", wanted)
