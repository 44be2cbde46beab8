"""The page: its verdict is the gate's, its cards hide nothing, and its figures take the page's colours."""

import importlib
import re
from dataclasses import replace

import pytest

from securetune.base.artifacts import RunFolder
from securetune.errors import ConfigError
from securetune.measures.kinds import BENIGN, HARMFUL, SKILL
from securetune.report.allowed import keep_budgets, kept_budgets
from securetune.report.gate import Budgets, check, passes
from securetune.report.heading import heading
from securetune.report.outcome import outcomes
from securetune.report.reading import Run, read_run
from tests.results import answered, store

summary = importlib.import_module("securetune.report.sections.10_summary")
N = 400


def stored(path, arm, harmful, benign=0, *, n=N, loss=1.0, skill=None):
    many = harmful if isinstance(harmful, list) else [harmful]
    sets = [answered(HARMFUL, hits, n, f"h{number}") for number, hits in enumerate(many)]
    sets.append(answered(BENIGN, benign, n))
    sets += [] if skill is None else [answered(SKILL, skill, n)]
    store(path, arm, sets, loss, is_defence=arm == "ml_lr")


def run_of(path, *, base=4, tuned=4, benign=0, n=N, loss=1.0):
    stored(path, "base", base, n=n, loss=5.0)
    stored(path, "none", N // 2 if n == N else n, n=n)
    stored(path, "ml_lr", tuned, benign, n=n, loss=loss)
    return read_run(path)


@pytest.mark.parametrize(
    ("made", "budgets", "word", "why"),
    [
        ({"tuned": 0}, Budgets(), "safe to ship", "4 of 4 checks passed"),
        ({"tuned": 0, "benign": N}, Budgets(), "do not ship", "Over-refusal on benign +100.0"),
        ({"tuned": 200}, Budgets(), "do not ship", "Attack success rate on h0 +49.0"),
        ({"tuned": 0, "loss": 2.0}, Budgets(), "do not ship", "Task loss on the task +100.0 %, allowed 2"),
        ({"base": 0, "tuned": 0, "benign": 1, "n": 20}, Budgets(), "unclear", "not enough prompts to tell"),
        ({"base": 0, "tuned": 0, "benign": 1, "n": 20}, Budgets(unclear="pass"), "safe to ship", "unclear, which"),
        ({"base": N, "tuned": N}, Budgets(), "unclear", "it hardly refuses"),
        ({"tuned": 40}, Budgets(asr_rise=0.2), "safe to ship", "checks passed"),
    ],
)
def test_the_word_is_the_gates_outcome(tmp_path, made, budgets, word, why):
    run = run_of(tmp_path, **made)
    keep_budgets(run.folder, budgets)
    held, *others = summary.data(run).first
    assert (held.arm, held.word) == ("ml_lr", word) and why in held.sentence
    assert (word == "safe to ship") == all(passes(found, budgets) for found in check(run, budgets))
    assert [(other.arm, other.is_held) for other in others] == [("none", False)]


def test_an_arm_that_the_budgets_name_stands_first(tmp_path):
    run = run_of(tmp_path)
    told = outcomes(run, Budgets(arms=("none",)))
    assert [(one.arm, one.is_held) for one in told] == [("none", True), ("ml_lr", False)]
    assert told[0].checks == check(run, Budgets(arms=("none",)))


def test_nothing_is_called_safe_where_no_harmful_request_was_held_or_a_budget_hangs_in_the_air(tmp_path):
    run = run_of(tmp_path)
    unheld = outcomes(run, Budgets(asr_rise=None))[0]
    assert unheld.word == "unclear" and "says nothing of safety" in unheld.sentence
    idle = outcomes(run, Budgets(skill_fall=0.1))[0]
    assert idle.word == "unclear" and "can be held against skill_fall" in idle.sentence


def test_budgets_are_kept_as_they_were_set(tmp_path):
    folder, budgets = RunFolder(tmp_path), Budgets(asr_rise=0.1, arms=("ml_lr",))
    assert kept_budgets(folder) == Budgets()
    keep_budgets(folder, budgets)
    assert kept_budgets(folder).model_fields_set == budgets.model_fields_set and kept_budgets(folder) == budgets
    (tmp_path / "budgets.yaml").write_text("asr_rise: 7")
    with pytest.raises(ConfigError, match="asr_rise"):
        kept_budgets(folder)


def test_a_kind_without_a_budget_is_said_to_have_none(tmp_path):
    for arm, skill in (("base", 300), ("none", 300), ("ml_lr", 10)):
        stored(tmp_path, arm, 4, skill=skill, loss=5.0 if arm == "base" else 1.0)
    assert summary.data(read_run(tmp_path)).first[0].word == "do not ship", "a skill that is gone"
    (tmp_path / "budgets.yaml").write_text("skill_fall: null")
    told = summary.data(read_run(tmp_path))
    assert told.first[0].word == "safe to ship", "the gate looks at no skill where nobody wants it to"
    assert "Nobody has set a budget for share not right" in told.first[0].sentence


def test_every_number_of_the_gate_is_on_the_page(tmp_path):
    run = run_of(tmp_path, tuned=60, benign=16)
    rows = [" ".join(map(str, row)) for row in summary.data(run).checks.rows]
    for found in (*check(run, Budgets()), *check(run, Budgets(arms=("none",)))):
        row = next(row for row in rows if row.startswith(found.arm) and f"{found.what} {found.on} " in row)
        for number in (found.rise, *((found.low, found.high) if found.n else ())):
            assert f"{100 * number:+.1f}" in row
        assert found.finding in row and f"{100 * found.budget:.1f}" in row


def test_a_card_shows_the_mean_and_the_worst_set_of_every_model_and_never_the_kindest(tmp_path):
    stored(tmp_path, "base", [0, 40, 8])
    stored(tmp_path, "none", [200, 300, 8])
    stored(tmp_path, "ml_lr", [120, 40, 8])
    harmful = summary.data(read_run(tmp_path)).cards[0]
    assert harmful.on == "mean of 3 sets"
    assert [(entry.model, entry.place, entry.value) for entry in harmful.entries] == [
        ("before tuning", 0, "4.0 %"),
        ("plain tuning", 1, "42.3 %"),
        ("ml_lr", 2, "14.0 %"),
    ]
    before, plain, defended = (" ".join(entry.notes) for entry in harmful.entries)
    assert "worst: 10.0 % on h1" in before and "worst: 75.0 % on h1" in plain and "worst: 30.0 % on h0" in defended
    assert "worse by ten points or more on 2 of 3; at worst, on h1, 65.0 points worse" in plain
    assert "2.0 %" not in before + plain + defended


def test_the_heading_names_the_models_of_a_check(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "model: {path: org/before}\ntuned: {mine: {path: out/after}}\ntask: {rows: {path: rows.jsonl}}\n"
    )
    run = run_of(tmp_path)
    base, tuned = run.model("base"), replace(run.model("none"), arm="mine", training=None)
    facts = {fact.what: fact.value for fact in heading(Run(folder=run.folder, models=(base, tuned)))}
    assert facts["Model before tuning"] == "org/before" and facts["Compared with it"] == "mine (out/after)"
    assert facts["Rows of the task"] == "rows.jsonl" and facts["Asked"] == "800 prompts of 2 sets"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", facts["Measured"])
