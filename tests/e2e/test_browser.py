"""The report in a real browser."""

import html
import json
import re
import shutil
import subprocess

import pytest

from securetune.config import parse_config
from securetune.flow.pipeline import run
from tests.conftest import settings, write_jsonl

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


def browse(page, *options):
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--log-level=0"]
    quiet = ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
    return subprocess.run(
        [*command, *quiet, *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )


@pytest.fixture(scope="module")
def page(model_folder, data_folder, tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    shutil.copy(data_folder / "harmful.jsonl", data / "advbench.jsonl")
    write_jsonl(
        data / "gsm8k_test.jsonl", [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(8)]
    )
    raw = settings(model_folder, data_folder, tmp_path_factory.mktemp("run") / "r")
    raw["benchmarks"] += [
        {"benchmark": "advbench", "path": str(data), "limit": 8},
        {"benchmark": "advbench", "path": str(data), "limit": 8, "attack": {"name": "prefill"}},
        {"benchmark": "gsm8k", "path": str(data)},
    ]
    raw["evaluate"]["judges"] = ["refusal_phrases", "refusal_margin", "refusal_phrases_anywhere"]
    return run(parse_config(raw, "test")) / "09-report.html"


def test_registered_benchmarks_and_attacks_stand_beside_the_users_own(page):
    evaluated = json.loads(page.with_name("08-evaluate-base.json").read_text(encoding="utf-8"))["data"]["benchmarks"]
    names = [(found["benchmark"], found["kind"]) for found in evaluated]
    assert names[2:] == [("AdvBench", "harmful"), ("AdvBench under prefill", "harmful"), ("GSM8K", "skill")]
    assert set(evaluated[2]["rates"]) == {"refusal_phrases", "refusal_margin", "refusal_phrases_anywhere"}
    assert set(evaluated[4]["rates"]) == {"final_number"}
    assert "refusal_phrases|refusal_phrases_anywhere" in evaluated[2]["agreement"]
    answers = json.loads(page.with_name("08-evaluate-base.answers.json").read_text(encoding="utf-8"))["benchmarks"]
    assert all(answer["text"].startswith("Sure, here is") for answer in answers[3]["answers"])
    text = page.read_text(encoding="utf-8")
    assert "ASR: AdvBench under prefill (n=8)" in text and "right: GSM8K (n=8)" in text
    figures = page.with_name("09-report-figures")
    assert {"heatmap.svg", "heatmap.png", "pareto.svg", "monitored.png"} <= {path.name for path in figures.iterdir()}
    lines = page.with_suffix(".csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 4 * (4 * 3 + 1) - 4  # an answer that was begun for the model has no margin
    assert page.with_suffix(".tex").read_text(encoding="utf-8").count("\\\\") == 1 + 4


def test_the_report_raises_no_error_and_asks_for_nothing(page):
    found = browse(page, "--dump-dom")
    assert "Harmful requests answered" in found.stdout
    # The policy in the page forbids scripts and every request; an attempt would be an error on the console.
    assert not re.findall(r"CONSOLE.*", found.stderr)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', found.stdout)[1]
    assert policy.startswith("default-src 'none'") and "script-src" not in policy


def test_a_request_would_be_noticed(page, tmp_path):
    broken = tmp_path / "broken.html"
    text = page.read_text(encoding="utf-8")
    broken.write_text(text.replace("<main>", '<main><img src="https://example.invalid/x.png">'), encoding="utf-8")
    assert "CONSOLE" in browse(broken, "--dump-dom").stderr


@pytest.mark.parametrize("size", ["390,844", "1280,900"])
def test_the_report_can_be_drawn_on_a_phone_and_on_a_desktop(page, tmp_path, size):
    shot = tmp_path / "shot.png"
    browse(page, f"--screenshot={shot}", f"--window-size={size}")
    assert shot.stat().st_size > 20_000


def test_everything_that_reacts_is_reachable_by_keyboard(page):
    text = page.read_text(encoding="utf-8")
    assert "onclick" not in text and 'tabindex="-1"' not in text
    assert all('tabindex="0"' in tag for tag in re.findall(r'<div class="scroll"[^>]*>', text))
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    nav = re.search(r"<nav.*?</nav>", text, re.DOTALL)[0]
    assert set(re.findall('href="#([^"]+)', nav)) <= ids


def test_harmful_answers_stand_behind_a_reveal(page):
    text = page.read_text(encoding="utf-8")
    for example in re.findall(r'<details class="example harmful.*?</div></details>', text, re.DOTALL):
        for part in re.findall(r"<h4>.*?</div>", example, re.DOTALL):
            assert 'class="refused"' in part or "Reveal the answer" in part


_MEASURING = """<body style="margin:0"><iframe id="page" src="%s" style="width:%dpx;height:900px;border:0"></iframe>
<pre id="out"></pre><script>
window.addEventListener("load", () => {
  const page = document.getElementById("page").contentDocument;
  const height = page.documentElement.scrollHeight;
  page.querySelectorAll("details").forEach(folded => folded.open = true);
  const right = cell => Math.round(cell.getBoundingClientRect().right);
  const cells = [...page.querySelectorAll("td")].map(cell => [cell.dataset.column, cell.textContent, right(cell)]);
  document.getElementById("out").textContent =
    "MEASURED" + JSON.stringify({height, wide: page.documentElement.scrollWidth, cells}) + "END";
});</script></body>"""


def measured(page, folder, width):
    """How high and wide the page is at a width, and where every cell of a table ends once everything is open."""
    (folder / "measuring.html").write_text(_MEASURING % (page.as_uri(), width), encoding="utf-8")
    dom = browse(folder / "measuring.html", "--dump-dom", "--allow-file-access-from-files", "--window-size=1500,950")
    return json.loads(html.unescape(re.search("MEASURED(.*?)END", dom.stdout, re.DOTALL)[1]))


@pytest.mark.parametrize("width", [390, 1400])
def test_no_table_is_cut_before_its_verdict_and_the_page_is_no_wider_than_the_screen(page, tmp_path, width):
    layout = measured(page, tmp_path, width)
    assert layout["wide"] <= width
    verdicts = [right for column, _, right in layout["cells"] if column == "verdict"]
    assert len(verdicts) > 5 and max(verdicts) <= width


def test_before_and_after_shows_its_numbers_on_a_phone(page, tmp_path):
    cells = measured(page, tmp_path, 390)["cells"]
    assert {column for column, *_ in cells} >= {"before tuning", "plain tuning", "ML-LR", "SWAT"}
    assert max(right for _, _, right in cells) <= 390


def test_the_page_is_short_until_somebody_opens_its_parts(page, tmp_path):
    assert measured(page, tmp_path, 1400)["height"] < 4000


def test_the_filter_shows_every_kind_and_says_how_many_of_how_many(page):
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"(\d+) of (\d+) (harmful|benign|skill) prompts", text)
    assert [(kind, int(asked)) for _, asked, kind in shown] == [("harmful", 28), ("benign", 12), ("skill", 8)]
    for number, _, kind in shown:
        assert text.count(f'<details class="example {kind}') == int(number) > 0
        assert f"prompts ({number} of " in text and f'id="only-{kind}"' in text and f"#only-{kind}:checked" in text


def test_figures_have_no_ground_and_no_black_of_their_own(page):
    for figure in re.findall(r"<figure>.*?</figure>", page.read_text(encoding="utf-8"), re.DOTALL):
        assert "currentColor" in figure
        assert not re.search(r"(fill|stroke): (#(ffffff|000000|262626)|white|black)", figure)


def test_research_is_folded_with_what_it_found_beside_its_title(page):
    text = page.read_text(encoding="utf-8")
    for anchor in ("probe", "modules", "signals", "patterns"):
        part = text[text.index(f'<section id="{anchor}">') :]
        opening = re.match(r'<section id="\w+">\s*<details class="fold"><summary>(.*?)</summary>', part, re.DOTALL)
        assert opening and re.search(r'class="result">[A-Za-z][^<]{20,}\.</span>', opening[1]), anchor
    assert text.index('id="summary"') < text.index('id="compared"') < text.index('id="answers"')
    assert text.index('id="answers"') < text.index('id="provenance"') < text.index('id="probe"')
