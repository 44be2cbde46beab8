#!/usr/bin/env python3
"""Matrix: do the oldest and the newest libraries that we support work, on every Python that we support?

    .ci/matrix.py [--out matrix.json] [--python 3.12 ...] [--versions oldest ...] [-- PYTEST_ARGUMENTS]

Each combination gets an environment of its own in a temporary folder. uv resolves and installs. "oldest" are the floors
of pyproject.toml (`--resolution lowest-direct`), "newest" is what the index has. A combination that cannot be installed
is named with its reason and does not fail. One whose tests fail does, and so does a floor that was not what ran. The
build of torch is the index's own; UV_TORCH_BACKEND=cpu takes the small one where PyTorch's index can be reached.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}
SHOWN = ("torch", "transformers", "peft", "trl", "accelerate", "datasets")
PARTS = (
    "tests/unit/test_loading.py",
    "tests/unit/test_template.py",
    "tests/golden/test_adapters.py",
    "tests/golden/test_answers.py",
    "tests/golden/test_attach.py",
    "tests/golden/test_harness.py",
    "tests/golden/test_monitor.py",
    "tests/golden/test_sft.py",
    "tests/contract/test_families.py",
    "tests/e2e/test_flow.py::test_a_run_ends_with_the_table_and_leaves_every_artifact",
    "tests/e2e/test_flow.py::test_the_adapter_opens_with_plain_peft",
    "tests/e2e/test_flow.py::test_full_fine_tuning_runs_too",
    "tests/e2e/test_flow.py::test_tokenizer_round_trip_keeps_the_chat_template",
)
"""Where the libraries are met: models, templates, adapters, generation, trainers, the harness and the whole flow."""


@dataclass(kw_only=True)
class Combination:
    """One Python with one choice of versions, and what came of it."""

    python: str
    versions: str
    """``oldest`` or ``newest``."""
    installed: dict[str, str] = field(default_factory=dict)
    not_installed: str = ""
    """Why it could not be installed."""
    floors_not_run: list[str] = field(default_factory=list)
    """Floors of pyproject.toml above which the resolver had to go."""
    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    broke: str = ""
    """How pytest ended where it left no results."""

    @property
    def is_bad(self) -> bool:
        """Whether it was installed and does not hold."""
        return bool(self.floors_not_run or self.failed or self.broke)

    @property
    def outcome(self) -> str:
        """The last cell of its row."""
        if self.not_installed:
            return f"could not be installed: {self.not_installed}"
        counts = self.broke or f"{self.passed} passed, {len(self.failed)} failed, {self.skipped} skipped"
        return "; ".join([counts, *(f"floor not run: {floor}" for floor in self.floors_not_run)])


class InstallError(Exception):
    """A step of an installation failed."""


class Uv:
    """uv, from the PATH or from an environment made for it."""

    def __init__(self, work: Path) -> None:
        self.program = shutil.which("uv") or str(self._own(work))
        # Without this a pyenv shim answers for the chosen Pythons alone.
        if shutil.which("pyenv"):
            listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True)
            self.environment = {"PYENV_VERSION": ":".join(listed.stdout.split())}
        else:
            self.environment = {}

    @staticmethod
    def _own(work: Path) -> Path:
        home = work / "uv"
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        ended = subprocess.run([home / "bin/pip", "install", "--quiet", "uv"], capture_output=True, text=True)
        if ended.returncode:
            sys.exit(f"Expected uv, found none on the PATH and none to install. Install uv.\n{ended.stderr.strip()}")
        return home / "bin/uv"

    def __call__(self, *words: str | Path) -> str:
        """Its output.

        Raises:
            InstallError: it failed; the text is what uv said.
        """
        ended = subprocess.run(
            [self.program, *words], capture_output=True, text=True, cwd=ROOT, env={**os.environ, **self.environment}
        )
        if ended.returncode:
            before, _, reason = ended.stderr.partition("error: ")  # warnings and notices come first
            raise InstallError(" ".join((reason or before).split())[:400].replace("|", "/"))
        return ended.stdout


def floors() -> dict[str, str]:
    """The lowest version of every direct requirement, by its name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["test"], *extras["quantized"], *extras["lm-eval"]]
    pairs = (re.match(r"([\w.-]+)>=([\d.]+)", line) for line in wanted)
    return {pair[1].replace("_", "-"): pair[2] for pair in pairs if pair}


def install(uv: Uv, home: Path, combination: Combination) -> None:
    """Make the environment, and write down what stands in it."""
    uv("venv", "--quiet", "--python", combination.python, home)
    # A wheel is what users get; without this an old release would be built from source where its Python has none.
    wheels = [word for name in floors() for word in ("--only-binary", name)]
    resolution = ("--resolution", RESOLUTIONS[combination.versions])
    uv("pip", "install", "--python", home, *resolution, *wheels, "-r", "pyproject.toml", "--extra", "test")
    uv("pip", "install", "--python", home, "--no-deps", "--editable", ROOT)
    listed = json.loads(uv("pip", "list", "--python", home, "--format", "json"))
    combination.installed = {package["name"].lower(): package["version"] for package in listed}


def floors_not_run(installed: dict[str, str]) -> list[str]:
    """Direct requirements that stand above their floor."""
    return [
        f"{name}>={floor} ran as {installed[name]}"
        for name, floor in floors().items()
        if release(installed[name]) != release(floor)
    ]


def release(version: str) -> tuple[int, ...]:
    """Its numbers without trailing zeros, so that 2.9 equals 2.9.0+cpu."""
    numbers = [int(part) for part in re.findall(r"\d+", version.split("+")[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def run_tests(home: Path, combination: Combination, arguments: list[str]) -> None:
    """Run the parts, and count."""
    results = home / "results.xml"
    command = [home / "bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={results}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run([*command, *(arguments or PARTS)], cwd=ROOT, env=environment, stdout=sys.stderr)
    if not results.exists():
        combination.broke = f"pytest ended with {ended.returncode} and left no results"
        return
    for case in ElementTree.parse(results).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            combination.failed.append(f"{case.get('classname')}::{case.get('name')}")
        elif case.find("skipped") is not None:
            combination.skipped += 1
        else:
            combination.passed += 1
    if not combination.passed and not combination.failed:
        combination.broke = f"pytest ended with {ended.returncode} and ran no test"


def tried(uv: Uv, home: Path, combination: Combination, arguments: list[str]) -> Combination:
    """The combination with its outcome; its environment is gone afterwards."""
    try:
        install(uv, home, combination)
        if combination.versions == "oldest":
            combination.floors_not_run = floors_not_run(combination.installed)
        run_tests(home, combination, arguments)
    except InstallError as error:
        combination.not_installed = str(error)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return combination


def table(combinations: list[Combination]) -> str:
    """A row for each, as Markdown."""
    lines = [f"| Python | versions | {' | '.join(SHOWN)} | outcome |", "|---" * (len(SHOWN) + 3) + "|"]
    for each in combinations:
        found = (each.installed.get(name, "") for name in SHOWN)
        lines.append(f"| {each.python} | {each.versions} | {' | '.join(found)} | {each.outcome} |")
    return "\n".join(lines)


def main() -> int:
    """Try every combination; 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("matrix.json"), help="where the results go")
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=PYTHONS)
    parser.add_argument("--versions", nargs="+", choices=RESOLUTIONS, default=list(RESOLUTIONS))
    parser.add_argument("arguments", nargs="*", help="of pytest, instead of the usual parts")
    options = parser.parse_args()
    done: list[Combination] = []
    with tempfile.TemporaryDirectory(prefix="matrix-") as work:
        uv = Uv(Path(work))
        for python in options.python:
            for versions in options.versions:
                combination = Combination(python=python, versions=versions)
                done.append(tried(uv, Path(work) / f"{versions}-{python}", combination, options.arguments))
                options.out.write_text(json.dumps([asdict(each) for each in done], indent=1) + "\n", encoding="utf-8")
                print(table(done[-1:]).splitlines()[-1], flush=True)
    print("\n" + table(done))
    for each in done:
        for name in each.failed:
            print(f"failed with Python {each.python}, {each.versions}: {name}")
    return int(any(each.is_bad for each in done))


if __name__ == "__main__":
    sys.exit(main())
