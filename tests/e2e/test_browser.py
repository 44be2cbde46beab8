"""The report in a real browser."""

import re
import shutil
import subprocess

import pytest

from securetune.config import parse_config
from securetune.pipeline import run
from tests.conftest import settings

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
    folder = run(parse_config(settings(model_folder, data_folder, tmp_path_factory.mktemp("run") / "r"), "test"))
    return folder / "09-report.html"


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
