"""Plug-ins: which there are, and those from outside the package: a file of the user's, another distribution's."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from securetune.base.outside import offered
from securetune.base.registry import Registry
from securetune.defences import DEFENCES
from securetune.defences.base.arm import Arm
from securetune.defences.base.combination import Combination
from securetune.errors import ConfigError, RegistryError
from securetune.evaluate.benchmarks import BENCHMARKS
from securetune.search import SEARCHES

MINE = """
from pydantic import Field
from securetune import Defence, Source

class Mine(Defence):
    title, paper = "mine", "mine"

    class Settings(Defence.Settings):
        below: float = Field(default=0.5, gt=0)

class Other(Defence):
    title, paper = "other", "mine"
    Settings = Mine.Settings

kitchen = Source(title="Kitchen", kind="benign", paper="", licence="", dataset="", file="", fixture=())
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_a_plugin_in_a_file_is_loaded_once_and_takes_settings_under_its_name(mine):
    assert DEFENCES.get("mine.py:Mine") is DEFENCES.get(f"{mine}:Mine")
    (defence,) = Combination.of("mine.py:Mine@0.5", {"mine.py:Mine": {"below": 0.1}}).defences
    assert defence.settings.below == 0.1 and type(defence)().settings.below == 0.5
    with pytest.raises(ConfigError, match=r"problem at defence.mine.py:Mine.below"):
        Combination.of("mine.py:Mine", {"mine.py:Mine": {"below": -1}})
    assert BENCHMARKS.get("mine.py:kitchen").title == "Kitchen"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent.py:Mine", r"in the file absent.py, found no such file. Correct the path: it counts from"),
        ("mine.py:Mien", r"Expected Mien in mine.py, found Mine, Other. Correct the name"),
        ("mine.py:kitchen", r"a subclass of Defence for the defence mine.py:kitchen, found Source"),
        ("broken.py:Mine", r"a defence in broken.py, found a file that fails: ZeroDivisionError"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(name, told, mine):
    mine.with_name("broken.py").write_text("1 / 0", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(RegistryError, match=told):
            DEFENCES.get(name)
    with pytest.raises(RegistryError, match=r"a Source for the benchmark mine.py:Mine, found <class"):
        BENCHMARKS.get("mine.py:Mine")


def test_the_hash_of_an_own_defence_changes_with_its_file_and_its_name_and_not_with_its_folder(mine, tmp_path):
    def now(name):
        return Combination.of(name, {}).fingerprint()

    (tmp_path / "below").mkdir()
    (tmp_path / "below/mine.py").write_text(MINE, encoding="utf-8")
    first, other, elsewhere = now("mine.py:Mine"), now("mine.py:Other"), now("below/mine.py:Mine")
    remembered = DEFENCES.fingerprint("mine.py:Mine")
    mine.write_text(MINE.replace('title, paper = "mine"', 'title, paper = "mind"'), encoding="utf-8")
    assert DEFENCES.get("mine.py:Mine").title == "mind", "a changed file is read again"
    assert first == elsewhere and len({first, other, now("mine.py:Mine")}) == 3
    assert DEFENCES.fingerprint("mine.py:Mine") != remembered and DEFENCES.fingerprint("ema") == "ema"


def test_an_arm_names_a_file_beside_registered_names():
    arm = Arm.parse("folder/mine.py:Mine + ema@0.5")
    assert arm.names == ("folder/mine.py:Mine", "ema") and Arm.parse(str(arm)) == arm


def test_a_folder_that_expects_nothing_is_closed_to_the_outside(mine):
    closed = Registry(kind="search", package="securetune.search", attribute="search")
    with pytest.raises(RegistryError, match=r"No search is called 'mine.py:Mine'. Choose one of: beam, .*random\.$"):
        closed.get("mine.py:Mine")


OFFER = """
import sys
from securetune.errors import RegistryError
from securetune.search import SEARCHES
try:
    print("mine" in SEARCHES.names(), "kitchen_search" in sys.modules)
    print(SEARCHES.get("mine")(3), SEARCHES.get("greedy").__name__)
except RegistryError as error:
    print(error)
"""


def shown(folder, offers):
    """What a process sees in which a distribution with such entry points is installed."""
    (folder / "kitchen_search.py").write_text("def search(problem):\n    return problem + 1\n", encoding="utf-8")
    info = folder / "kitchen-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kitchen\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{SEARCHES.group}]\n{offers}\n", encoding="utf-8")
    path = os.pathsep.join([str(folder), *sys.path])
    done = subprocess.run([sys.executable, "-c", OFFER], capture_output=True, text=True, env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_another_distribution_offers_stands_beside_ours_and_is_imported_when_asked_for(tmp_path):
    assert shown(tmp_path, "mine = kitchen_search:search") == "True False\n4 search\n"


def test_an_offer_under_a_name_of_ours_is_an_error_that_names_the_distribution(tmp_path):
    message = shown(tmp_path, "greedy = kitchen_search:search")
    assert message.startswith(
        "Expected one search called 'greedy', found that of securetune and one that the distribution"
    )
    assert "kitchen offers. Uninstall kitchen" in message


def test_an_offer_that_cannot_be_imported_or_is_something_else_is_an_error(tmp_path, monkeypatch):
    assert "kitchen_search:none cannot be imported" in shown(tmp_path, "mine = kitchen_search:none")
    point = SimpleNamespace(name="mine", value="", dist=None, load=lambda: 3)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point])
    offered.cache_clear()
    try:
        with pytest.raises(RegistryError, match="a Callable for the search mine, found 3"):
            SEARCHES.get("mine")
    finally:
        offered.cache_clear()


def test_an_unknown_plugin_gets_a_near_match_and_the_list():
    with pytest.raises(RegistryError, match=r"Did you mean 'greedy'\? Choose one of: beam, bisect, greedy"):
        SEARCHES.get("gredy")


def test_listing_plugins_imports_none_of_them():
    registry = Registry(kind="judge", package="securetune.evaluate.judges", attribute="judge")
    assert {"refusal_margin", "refusal_phrases"} <= set(registry.names())
