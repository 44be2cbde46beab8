"""Cases: what is given to a command, and what it has to answer."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from securetune.cli import app
from securetune.config import override
from securetune.errors import SecuretuneError

SECONDS = 2.0
"""Of work, twice what is promised: the machine may be slow."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One bad input."""

    name: str
    words: Sequence[str]
    """The command line."""
    says: str
    """What stands in the answer."""
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    """What lies in the folder in which the command runs."""
    code: int = 1
    """1 where we refuse; 2 where the command line is no valid one."""


def run(**changes: Any) -> str:
    """The YAML of a small run, with some fields set; dots stand as two underscores."""
    prompts = {"path": "prompts.jsonl"}
    raw: dict[str, Any] = {
        "model": "model", "output": "out", "analysis": {"malicious": dict(prompts), "benign": dict(prompts)},
        "task": {"train": {"path": "rows.jsonl"}}, "benchmarks": [{"benchmark": "advbench"}],
    }  # fmt: skip
    for name, value in changes.items():
        override(raw, name.replace("__", "."), value)
    return yaml.safe_dump(raw)


def compared(**changes: Any) -> str:
    """The YAML of a small comparison, with some fields set."""
    shared = yaml.safe_load(run())
    task = {"task": shared.pop("task")}
    del shared["output"]
    raw: dict[str, Any] = {"output": "out", "run": shared, "tasks": {"t": task}, "arms": ["ml_lr"]}
    for name, value in changes.items():
        override(raw, name.replace("__", "."), value)
    return yaml.safe_dump(raw)


def check(case: Case, folder: Path) -> None:
    """Run the command in this process: it ends as documented, says what is expected of it, and in time."""
    for name, content in case.files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
    before, start = os.getcwd(), time.thread_time()
    os.chdir(folder)
    try:
        result = CliRunner().invoke(app, list(case.words))
    finally:
        os.chdir(before)
    seconds = time.thread_time() - start
    assert result.exit_code == case.code, result.output or repr(result.exception)
    if case.code == 1:
        assert isinstance(result.exception, SecuretuneError), repr(result.exception)
    text = " ".join((str(result.exception) if case.code == 1 else result.output.replace("│", " ")).split())
    assert case.says in text
    if case.code == 1:
        assert "Expected" in text or "No " in text, "an error says what was expected"
        assert text.rstrip().endswith((".", "?", ")")), "and what to do"
    assert seconds < SECONDS
