"""A whole run folder tampered with, file by file: an error that names the file, or made anew with equal results."""

import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from securetune.base.artifacts import digest_path
from securetune.config import parse_config
from securetune.errors import SecuretuneError
from securetune.flow.pipeline import run
from securetune.flow.reproduce import reproduce
from securetune.plans.plan import Plan
from securetune.report.gate import Budgets, check
from securetune.report.publish import publish
from securetune.report.reading import read_run
from tests.conftest import settings
from tests.faults import draw_nothing, results


@pytest.fixture(scope="module")
def raw(model_folder, data_folder):
    small = settings(model_folder, data_folder, Path("unset")) | {"arms": ["none", "ml_lr"], "monitor_every": 0}
    for benchmark in small["benchmarks"]:
        benchmark["limit"] = 4
    return small


@pytest.fixture(scope="module", autouse=True)
def no_drawing():
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        yield


@pytest.fixture(scope="module")
def runs(raw, tmp_path_factory):
    """A finished run, what stood in its folder for an earlier configuration, and a run with another seed."""
    top = tmp_path_factory.mktemp("runs")
    whole = raw | {"output": str(top / "whole")}
    earlier = whole | {"train": raw["train"] | {"steps": 3}, "scan": raw["scan"] | {"prompts": 12}}
    run(parse_config(earlier, "test"), until="evaluate")
    shutil.copytree(top / "whole", top / "older")
    run(parse_config(whole, "test"))
    run(parse_config(raw | {"output": str(top / "other"), "seed": 1}, "test"), until="evaluate")
    publish(read_run(top / "whole", arms=["ml_lr"]), "ml_lr", top / "published")
    return top


def is_result(name: str) -> bool:
    """Whether readers of results open a file; the others spare a restart work."""
    return not name.startswith(".") and not name.endswith(".journal")


def edited(data: bytes) -> bytes:
    """One digit, or one byte, in the middle is another."""
    half = len(data) // 2
    digit = re.compile(rb"[0-9]").search(data, half) or re.compile(rb"[0-9]").search(data)
    place = digit.start() if digit else half
    return data[:place] + (b"7" if data[place : place + 1] != b"7" else b"3") + data[place + 1 :]


FILE_WAYS = ("edited", "cut", "emptied", "deleted", "other", "older")


def change(way: str, name: str, folder: Path, runs: Path) -> bool:
    """Tamper with one file; whether it is another one now."""
    before = (folder / name).read_bytes()
    source = runs / way / name
    (folder / name).unlink()
    if way == "deleted":
        return True
    changed = {"edited": edited(before), "cut": before[: len(before) // 2], "emptied": b""}.get(way, before)
    if source.is_file():
        changed = source.read_bytes()
    (folder / name).write_bytes(changed)
    return changed != before


def tampers(runs: Path, which: str) -> list[tuple[str, str]]:
    """Every way with every file of the run, or with one of each folder besides those that lie in no folder."""
    files = [file for file in sorted((runs / "whole").rglob("*")) if file.is_file() and file.suffix != ".lock"]
    names = [file.relative_to(runs / "whole").as_posix() for file in files]
    first = {Path(name).parent: name for name in reversed(names)}
    kept = [name for name in names if which == "all" or "/" not in name or name in first.values()]
    return [(way, name) for name in kept for way in FILE_WAYS]


def names_it(text: str, name: str) -> bool:
    """Whether an error names a file, the folder it lies in, or the artifact that it belongs to."""
    first = Path(name).parts[0].split(".")[0]
    arm = first.split("-")[-1]
    return (
        first in text
        or f"done evaluate {arm}" in text
        or f"evaluated every arm of its configuration, found nothing of ['{arm}']" in text
    )


def copied(runs: Path, tmp_path: Path, way: str, name: str) -> Path | None:
    """A copy of the run with a file tampered with, or None where that file is the same as before."""
    folder = tmp_path / "whole"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(runs / "whole", folder)
    return folder if change(way, name, folder, runs) else None


SOME_AND_ALL = pytest.mark.parametrize("which", ["some", pytest.param("all", marks=pytest.mark.exhaustive)])


@SOME_AND_ALL
def test_no_reader_takes_a_file_that_was_tampered_with(which, runs, tmp_path, monkeypatch):
    def repeated(*_, **__):
        raise AssertionError("a run that was tampered with was repeated")

    monkeypatch.setattr("securetune.flow.pipeline.run", repeated)
    held = check(read_run(runs / "whole"), Budgets())
    tried = 0
    for way, name in tampers(runs, which):
        folder = copied(runs, tmp_path, way, name)
        if folder is None:
            continue
        tried += 1
        if not is_result(name):
            assert check(read_run(folder), Budgets()) == held, (way, name)
            continue
        with pytest.raises(SecuretuneError, match="(?s)^Expected .*, found") as gate:
            check(read_run(folder), Budgets())
        assert names_it(str(gate.value), name), (way, name, str(gate.value))
        if name in ("config.yaml", "ledger.json"):  # of all else it is to say what differs
            with pytest.raises(SecuretuneError):
                reproduce(folder, tmp_path / "again")
        shutil.rmtree(tmp_path / "published", ignore_errors=True)
        with suppress(SecuretuneError):  # what a card does not read may be anything
            publish(read_run(folder, arms=["ml_lr"]), "ml_lr", tmp_path / "published")
            assert digest_path(tmp_path / "published") == digest_path(runs / "published"), (way, name)
        if name.startswith("06-plan") and way in ("edited", "cut", "emptied"):
            with pytest.raises(SecuretuneError):
                Plan.load(folder / name)
    assert tried > 120
    print(f"{tried} files tampered with, no reader took one")


def comes_right(raw, runs: Path, folder: Path, name: str, until: str) -> str:
    """Whether a run on a folder that was tampered with stops with an error or ends with equal results."""
    try:
        run(parse_config(raw | {"output": str(folder)}, "test"), until=until)
    except SecuretuneError as error:
        assert str(error).startswith("Expected ") and names_it(str(error), name), (name, str(error))
        return "error"
    assert results(folder) == results(runs / "whole"), name
    if until == "report":
        check(read_run(folder), Budgets())
    return "equal"


SOME = [
    ("edited", "04-scan.json"), ("other", "08-evaluate-none.json"), ("older", "07-train-none.json"),
    ("edited", "07-train-ml_lr/adapter_model.safetensors"), ("cut", "08-evaluate-base.answers.json"),
    ("emptied", "ledger.json"), ("edited", "config.yaml"), ("deleted", "02-features.safetensors"),
]  # fmt: skip
"""One file of each kind."""


@SOME_AND_ALL
def test_a_run_goes_on_from_a_file_that_was_tampered_with_to_equal_results_or_stops(which, raw, runs, tmp_path):
    ends = []
    for way, name in SOME if which == "some" else tampers(runs, which):
        folder = copied(runs, tmp_path, way, name)
        if folder is not None:
            until = "report" if name.startswith("09") else "evaluate"
            ends.append(comes_right(raw, runs, folder, name, until))
    assert {"error", "equal"} == set(ends)
    print(f"{len(ends)} files tampered with: {ends.count('error')} errors, {ends.count('equal')} equal results")


def swap(folder: Path, one: str, other: str) -> None:
    (folder / one).rename(folder / "aside")
    (folder / other).rename(folder / one)
    (folder / "aside").rename(folder / other)


def from_other(*patterns: str):
    def replace(folder: Path) -> None:
        for pattern in patterns:
            for source in (folder.parent / "other").glob(pattern):
                target = folder / source.name
                shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
                (shutil.copytree if source.is_dir() else shutil.copy)(source, target)

    return replace


TOGETHER = {
    "two arms' trainings swapped": lambda folder: [
        swap(folder, f"07-train-none{end}", f"07-train-ml_lr{end}") for end in ("", ".json")
    ],
    "two arms' adapters swapped": lambda folder: swap(folder, "07-train-none", "07-train-ml_lr"),
    "two arms' evaluations swapped": lambda folder: [
        swap(folder, f"08-evaluate-none{end}", f"08-evaluate-ml_lr{end}") for end in (".json", ".answers.json")
    ],
    "another run's evaluations, all of them": from_other("08-*"),
    "another run's trainings and evaluations": from_other("07-*", "08-*"),
    "another run's results, all but the report": from_other("0[0-8]*"),
    "another run's base": from_other("08-evaluate-base*"),
    "another run's scan and search": from_other("04-*", "05-*"),
    "a training deleted": lambda folder: shutil.rmtree(folder / "07-train-ml_lr"),
    "a file added to an adapter": lambda folder: (folder / "07-train-ml_lr" / "more.json").write_text("{}"),
    "the report deleted": lambda folder: [
        (shutil.rmtree if path.is_dir() else Path.unlink)(path) for path in folder.glob("09*")
    ],
    "another run's evaluations, and no report": lambda folder: [
        from_other("08-*")(folder), *(path.unlink() for path in folder.glob("09*.*"))
    ],
    "another run's ledger": from_other("ledger.json"),
}  # fmt: skip
"""Several files at a time."""


@pytest.mark.parametrize("way", TOGETHER)
def test_files_that_were_changed_together_are_noticed(way, raw, runs, tmp_path):
    for name in ("whole", "other"):
        shutil.copytree(runs / name, tmp_path / name)
    folder = tmp_path / "whole"
    TOGETHER[way](folder)
    with pytest.raises(SecuretuneError, match=r"^Expected .*(0[0-9]-|config\.yaml).*, found "):
        check(read_run(folder), Budgets())
    with suppress(SecuretuneError):
        run(parse_config(raw | {"output": str(folder)}, "test"), until="evaluate")
        assert results(folder) == results(runs / "whole")


def test_an_edited_prompt_is_another_input(raw, runs, data_folder, tmp_path):
    """The gate holds what was measured; a run measures again what was asked."""
    shutil.copytree(runs / "whole", tmp_path / "whole")
    own = tmp_path / "harmful.jsonl"
    own.write_text((data_folder / "harmful.jsonl").read_text().replace("a", "A", 1))
    settings = yaml.safe_load(yaml.safe_dump(raw | {"output": str(tmp_path / "whole")}))
    settings["benchmarks"][0] |= {"path": str(own), "limit": 60}
    made = []
    run(parse_config(settings, "test"), until="preflight", announce=lambda artifact, stored: made.append(stored))
    assert made == [False]
