"""Untrusted text: one nasty name and answer through every medium, and a key that must come out of none."""

import csv
import io
import json
import logging
import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from securetune.base.artifacts import write_atomic
from securetune.base.terminal import LogFormatter, for_terminal
from securetune.compare import results
from securetune.config import parse_config
from securetune.errors import ConfigError, ModelError
from securetune.keys import MASK, without_keys
from securetune.measures.kinds import BENIGN, HARMFUL
from securetune.report import gate, terminal
from securetune.report.card import render_card
from securetune.report.figures import png, svg
from securetune.report.reading import read_run
from securetune.report.render import html_text
from securetune.report.tables import latex_text, markdown_text, render_tables, spreadsheet_cell
from tests.results import answered, store
from tests.unit.bad_input.cases import run as run_yaml

CANARY = (
    "=cmd|' /C x'!A0 <script>x</script> [x](http://e.vil) ![i](x) @all `c` $\\frac$ \x1b[2J\x07\u202e\ud800\ufffe\n# h"
)
KEY = "canary-0123456789"


@pytest.fixture
def nasty_run(tmp_path):
    for arm, hits, loss in (("base", 4, 5.0), ("none", 60, 1.0), ("ml_lr", 50, 1.01)):
        sets = [answered(HARMFUL, hits, 100, CANARY.replace("\ud800", "")), answered(BENIGN, 4, 100, "-5")]
        store(tmp_path, arm, sets, loss, is_defence=arm == "ml_lr")
    arms = ["none", "ml_lr"]
    name = CANARY.translate({ord(letter): None for letter in "\x1b\ud800\x07\ufffe"})
    write_atomic(tmp_path / "config.yaml", run_yaml(arms=arms, task__name=name))
    return read_run(tmp_path)


def steers(text):
    return re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)


def test_a_terminal_and_a_log_see_what_is_written_and_are_not_steered():
    assert for_terminal(CANARY).count("\\x1b") == 1 and not steers(for_terminal(CANARY))
    assert for_terminal("plain ünïcode – 👩\u200d💻\tx\n") == "plain ünïcode – 👩\u200d💻\tx\n"
    record = logging.LogRecord("n", logging.WARNING, "", 1, "%s", (CANARY,), None)
    assert not steers(LogFormatter("%(message)s").format(record))


def test_the_summary_takes_a_name_for_no_markup(nasty_run, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "Console", lambda: Console(file=screen, width=200))
    terminal.print_summary(nasty_run)
    assert terminal._plain("[/bold] [red]x").plain == "[/bold] [red]x" and not steers(screen.getvalue())


def test_markdown_tables_and_cards_hold_no_markup_of_others(nasty_run):
    for text in (
        markdown_text(CANARY),
        render_tables(nasty_run)[".md"],
        render_card(nasty_run, "ml_lr").split("---", 2)[2],
    ):
        assert "<script" not in text and "://e" not in text and "\n# h" not in text
        assert not re.search(r"@all|(?<!\\)\]\(|(?<!\\)`|(?<!\\)!\[", text) and not steers(text)
    lines = render_tables(nasty_run)[".md"].strip().split("\n")
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert len(cells) == 1, "a bar in a name makes no column"


def test_a_spreadsheet_gets_texts_and_numbers_and_no_formulas(nasty_run):
    rows = list(csv.DictReader(io.StringIO(render_tables(nasty_run)[".csv"])))
    names = {row["benchmark"] for row in rows}
    assert len(names) == 2 and all(name.startswith("'") for name in names)
    assert all(float(row["rate"]) >= 0 for row in rows)
    assert [spreadsheet_cell(value) for value in (-1.5, 3, None, "ml_lr", " +x", "\t=x")] == [
        -1.5, 3, None, "ml_lr", "' +x", "'\t=x"]  # fmt: skip


def test_the_csv_of_a_comparison_holds_no_formulas_either():
    result = results.Result(
        model="=m", task="t", share=None, seed=0, arm="-a", rate=1.0, steps=1, loss_ratio=-1.0, is_learned=True,
        score=None, over_refusal=0.0, broken=0.0, step_seconds=0.0, memory=None, attacks={"@set": (True,)},
    )  # fmt: skip
    (row,) = csv.DictReader(io.StringIO(results.to_csv([result])))
    assert (row["model"], row["arm"], row["loss_ratio"], row["asr: @set"]) == ("'=m", "'-a", "-1.0", "1.0")


def test_the_file_for_ci_services_stays_xml(nasty_run):
    checks = gate.check(nasty_run, gate.Budgets())
    suite = ElementTree.fromstring(gate.to_junit(checks, gate.Budgets()).encode())
    assert len(suite) == len(checks) and "cmd|" in suite[0].get("name")
    assert json.loads(json.dumps(gate.to_dict(checks, gate.Budgets())))["checks"]


def test_figures_spell_a_name_out():
    figure = Figure()
    axes = figure.subplots()
    axes.set_xticks([0.2, 0.6], [CANARY.replace("\ud800", ""), "$x"])
    axes.set_title("$\\frac$")
    assert png(figure)[:4] == b"\x89PNG"
    drawn = svg(figure)
    assert "$\\frac$" in drawn and "<script" not in drawn and not steers(drawn)
    ElementTree.fromstring(drawn.replace("\ufffe", "").replace("xlink:", ""))


def test_pages_and_papers_hold_no_commands_of_others():
    assert not steers(html_text(CANARY)) and html_text(3) == 3
    assert latex_text("\\input{x}~^$%&_#") == (
        "\\textbackslash{}input\\{x\\}\\textasciitilde{}\\textasciicircum{}\\$\\%\\&\\_\\#"
    )


@pytest.mark.parametrize(
    "text",
    [f"Authorization: Bearer {KEY}", f"https://me:{KEY}@host/x", f"https://{KEY}@host", f"?api_key={KEY}&x=1",
     f"hf_{'canary0123' * 3}", f"sk-proj-{'canary0123' * 3}", f"the value of MY_JUDGE_KEY is {KEY}"],
)  # fmt: skip
def test_a_key_stands_in_no_error_and_no_log(text, monkeypatch):
    monkeypatch.setenv("MY_JUDGE_KEY", KEY)
    record = logging.LogRecord("n", logging.WARNING, "", 1, text, (), None)
    for told in (without_keys(text), str(ModelError(f"found: {text}")), LogFormatter("%(message)s").format(record)):
        assert MASK in told and "canary" not in told


def test_words_that_only_sound_like_keys_stay():
    for text in ("end token: <|endoftext|>, pad_token=0", "https://host/a@b", "Bearer of news", "sk-learn", "a: b@c"):
        assert without_keys(text) == text


def test_a_key_in_a_configuration_is_refused_without_being_repeated():
    with pytest.raises(ConfigError, match="found one at evaluate.judge.x.endpoint") as told:
        parse_config({"evaluate": {"judge": {"x": {"endpoint": f"http://u:{KEY}@h"}}}}, "run.yaml")
    assert "canary" not in str(told.value)
