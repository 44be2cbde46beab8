"""Pages of results: every one can be found, has the same shape, and includes its tables instead of pasting them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
INDEX = RESULTS / "index.md"
PAGES = sorted(page for page in RESULTS.glob("*.md") if page != INDEX)
INCLUDE = re.compile(r'^--8<-- "docs/results/tables/(.+)"$', re.MULTILINE)
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
SHAPE = ["## What it does not show", "## Command"]
MOST_ROWS = 15

page_by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@page_by_page
def test_a_page_is_in_the_index_and_in_the_navigation(page):
    assert f"]({page.name})" in INDEX.read_text(encoding="utf-8")
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    assert navigation.count(f": results/{page.name}\n") == 1


@page_by_page
def test_a_page_asks_and_says_what_it_does_not_show_and_how_to_repeat_it(page):
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert text.split("\n", 1)[0].endswith("?")
    headings = re.findall("^## .*$", text, re.MULTILINE)
    assert headings in ([*SHAPE, "## All numbers"], SHAPE)
    assert "```console\n" in text.split("\n## Command\n")[1]


@page_by_page
def test_a_page_pastes_no_long_table(page):
    tables = TABLE.findall(page.read_text(encoding="utf-8") + "\n")
    assert max((table.count("\n") - 2 for table in tables), default=0) <= MOST_ROWS


def test_every_table_is_included_and_every_include_is_a_table():
    included = {name for page in PAGES for name in INCLUDE.findall(page.read_text(encoding="utf-8"))}
    assert included == {path.name for path in (RESULTS / "tables").iterdir()}


def test_every_file_that_the_papers_page_names_is_there():
    source = ROOT / "src/securetune"
    named = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "PAPERS.md").read_text(encoding="utf-8")))
    places = ("", "defences", "evaluate/attacks")
    assert [name for name in named if not any((source / place / name).exists() for place in places)] == []
