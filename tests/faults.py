"""Faults: every write, rename and removal of this process as a point where it can be killed or the disk can be full."""

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import safetensors.torch
import torch

from securetune.base.artifacts import digest_path
from securetune.report import figures, files

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PASSING = re.compile(r"\.\d+\.partial$")
_OF_DATASETS = re.compile(r"(?<=/rows-\d/)(tmp|cache-)[^/]+$")
"""What `datasets` writes under names of its own, others every time."""


def full() -> OSError:
    """What the system raises where a disk is full."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def results(folder: Path) -> dict[str, object]:
    """All that a run has found, by file: the results, the answers and the tuned weights."""
    found = {}
    for path in sorted(folder.rglob("0*")):
        if path.suffix == ".json" and not path.name.startswith("09"):
            content = json.loads(path.read_text())
            found[str(path.relative_to(folder))] = content.get("data", content)
    weights = {
        str(path.relative_to(folder)): digest_path(path)
        for path in folder.rglob("07-train-*/*.safetensors")
        if "partial" not in str(path)
    }
    return found | weights


def draw_nothing(monkeypatch) -> None:
    """The report's figures are written as they always are, with nothing in them: to draw them takes most of a run."""
    for place in (figures, files):
        monkeypatch.setattr(place, "svg", lambda figure: "<svg></svg>")
    monkeypatch.setattr(files, "png", lambda figure: b"nothing")


class Killed(BaseException):
    """Stands in for kill -9: nothing is written after it."""


class Faults:
    """While it is entered, `strike(point)` is asked before every point; what it returns is raised there.

    A point is ``what path``, such as ``rename 04-scan.json``. After a kill every later point is a kill, too, so that
    nobody tidies up.
    """

    current: "Faults | None" = None

    def __init__(self, root: Path, strike: Callable[[str], BaseException | None]) -> None:
        self.root, self._strike = str(root.resolve()), strike
        self.points: list[str] = []
        self.struck: str | None = None
        self._dead: BaseException | None = None

    def __enter__(self) -> "Faults":
        Faults.current = self
        return self

    def __exit__(self, *_: object) -> None:
        Faults.current = None

    def at(self, what: str, path: object) -> None:
        text = os.path.realpath(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else ""
        if not text.startswith(self.root + os.sep) or text.endswith(".lock"):
            return
        place = _OF_DATASETS.sub(r"\1", os.path.relpath(text, self.root))
        point = f"{what} {_PASSING.sub('.partial', place)}"
        self.points.append(point)
        if self._dead is None:
            self._dead = self._strike(point)
            if self._dead is not None:
                self.struck = point
        if self._dead is not None and not (isinstance(self._dead, OSError) and what in ("remove", "rmdir")):
            raise self._dead


def _audit(event: str, args: tuple) -> None:
    faults = Faults.current
    if faults is None:
        return
    if event == "open" and isinstance(args[2], int) and args[2] & _WRITES:
        faults.at("open", args[0])
    elif event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir"):
        place, folder = args[1] if event == "os.rename" else args[0], args[-1]
        if event in ("os.remove", "os.rmdir") and folder not in (-1, None):
            place = Path(f"/proc/self/fd/{folder}").resolve() / os.fsdecode(place)
        faults.at(event.removeprefix("os."), place)


sys.addaudithook(_audit)


def _in_halves(write: Callable[..., object], place: Callable[..., object], says: type[Exception], text: str):
    """A native writer with three points: before, half-way and after."""

    def written(*args, **kwargs):
        faults, path = Faults.current, place(*args, **kwargs)
        if faults is None or not isinstance(path, str | Path):
            return write(*args, **kwargs)
        for moment in ("begin", "half", "end"):
            if moment == "half":
                write(*args, **kwargs)
                os.truncate(path, os.path.getsize(path) // 2)
            elif moment == "end":
                write(*args, **kwargs)
            try:
                faults.at(moment, path)
            except OSError:
                raise says(text) from None
        return None

    return written


def watch_native_writers(monkeypatch) -> None:
    """Count what safetensors and torch write too, with the errors that they raise themselves."""
    monkeypatch.setattr(
        safetensors.torch,
        "serialize_file",
        _in_halves(
            safetensors.torch.serialize_file,
            lambda tensors, filename, *_, **__: filename,
            safetensors.SafetensorError,
            "Error while serializing: I/O error: No space left on device (os error 28)",
        ),
    )
    monkeypatch.setattr(
        torch,
        "save",
        _in_halves(
            torch.save,
            lambda value, f, *_, **__: f,
            RuntimeError,
            "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0",
        ),
    )
    sync = os.fsync

    def synced(stream: int) -> None:
        faults = Faults.current
        if faults is not None:
            path = os.readlink(f"/proc/self/fd/{stream}")
            size = os.fstat(stream).st_size
            try:
                faults.at("sync", path)
            except BaseException:
                os.ftruncate(stream, size // 2)
                raise
        sync(stream)

    monkeypatch.setattr(os, "fsync", synced)


def every_state(start: Callable[[], object], root: Path, top: Path) -> list[Path]:
    """Copies in `top` of every distinct tree that a kill -9 of `start` can leave in `root`.

    One stands for every point, as it is on the disk there; between two points every file that has come or changed is
    left empty and half-written, too. Temporary files count as one another, as nobody reads them.
    """
    states: dict[str, Path] = {}
    before: dict[str, bytes] = {}

    def keep(state: Path) -> None:
        paths = sorted(path for path in state.rglob("*") if path.suffix != ".lock")
        kept = [path for path in paths if path.is_dir() or path.suffix != ".partial"]
        contents = [(str(path.relative_to(state)), path.is_file() and digest_path(path)) for path in kept]
        if states.setdefault(str([contents, len(kept) < len(paths)]), state) != state:
            shutil.rmtree(state)

    def snapshot(_: str) -> None:
        nonlocal before
        after = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        whole = top / f"{len(states):04d}-whole"
        shutil.copytree(root, whole) if root.exists() else whole.mkdir()
        for moment, name, content in _halves(before, after):
            torn = top / f"{len(states):04d}-{moment}-{Path(name).name}"
            shutil.copytree(whole, torn)
            (torn / name).write_bytes(content)
            keep(torn)
        keep(whole)
        before = after

    with Faults(root, snapshot):
        start()
    return list(states.values())


def _halves(before: dict[str, bytes], after: dict[str, bytes]) -> Iterator[tuple[str, str, bytes]]:
    """Every file that differs between two trees, as it is while it is being written; a rename leaves nothing half."""
    for name, now in after.items():
        was = before.get(name, b"")
        if now == was or now in before.values():
            continue
        start = len(was) if now.startswith(was) else 0
        yield "empty", name, now[:start]
        yield "half", name, now[: (start + len(now)) // 2]
