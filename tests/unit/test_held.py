"""What does a notebook show of tuned models that were held against budgets?"""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from securetune.doors.held import Held
from securetune.measures.kinds import BENIGN, HARMFUL
from securetune.report.gate import Budgets, check
from securetune.report.reading import read_run
from tests.results import answered, store


@pytest.fixture
def held(tmp_path):
    for arm, harmful, loss in (("base", 4, 5.0), ("none", 120, 1.0), ("ml_lr", 6, 1.01), ("swat", 90, 1.01)):
        sets = [answered(HARMFUL, harmful, 200), answered(BENIGN, 4, 200)]
        store(tmp_path, arm, sets, loss, is_defence=arm not in ("base", "none"))
    run, budgets = read_run(tmp_path), Budgets()
    return Held(run=run, checks=check(run, budgets), budgets=budgets)


class Seen(HTMLParser):
    """The texts and the tags of a page."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.tags = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


def test_a_notebook_shows_the_verdict_and_a_row_for_every_check(held):
    seen = Seen(held._repr_html_())
    assert seen.texts[0] == held.verdict
    assert sum(tag == "tr" for tag, _ in seen.tags) == len(held.checks) + 1
    start = seen.texts.index("ml_lr")
    assert seen.texts[start : start + 5] == ["ml_lr", "attack success rate", "harmful", "2.0 %", "3.0 %"]
    red = sum("style" in attributes for _, attributes in seen.tags)
    failed = [check for check in held.checks if check.finding != "within"]
    assert failed and red == len(failed) * 9


def test_names_are_text_and_no_markup(held):
    nasty = replace(held, checks=[replace(held.checks[0], arm="<script>alert(1)</script>", on='"&<b>')])
    page = nasty._repr_html_()
    assert "<script" not in page and "<b>" not in page
    assert "<script>alert(1)</script>" in Seen(page).texts
