"""Files: what is the hash of a file or a value, and how is a file written whole or not at all?"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from securetune.base.machine import writing
from securetune.errors import ConfigError, MachineError

PARTIAL = ".partial"
"""How the temporary name of a file ends."""


def digest(value: object) -> str:
    """Hash of any JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_path(path: Path) -> str:
    """Hash of a file's bytes, or of all files below a folder with their names."""
    total = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        total.update(file.relative_to(path).as_posix().encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()[:16]


def write_atomic(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new, never half."""
    write_parts_atomic(path, [text])


def write_parts_atomic(path: Path, parts: Iterable[str]) -> None:
    """The same for a text that is made as it is written, so that it is never held whole."""
    _check_is_file(path)
    with writing(path), _beside(path) as temporary:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.writelines(parts)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)


def copy_atomic(file: Path, folder: Path) -> None:
    """Copy a file into a folder, whole or not at all."""
    target = folder / file.name
    with writing(target), _beside(target) as temporary:
        shutil.copy2(file, temporary)
        os.replace(temporary, target)


def check_new_file(path: Path) -> None:
    """Make sure that a file that a command is to write takes nobody's place.

    Raises:
        ConfigError: there is something, or no folder for it.
    """
    if path.exists():
        raise ConfigError(f"Expected a new file, found {path} there already. Choose another name.")
    if not path.parent.is_dir():
        raise ConfigError(f"Expected a folder at {path.parent}, found none. Make it first.")


def _check_is_file(path: Path) -> None:
    """Make sure that a file can take this place: one in the place of a device would be there instead of it."""
    if not path.name:
        raise MachineError(f"Expected the name of a file to write, found {str(path)!r}. Give one.")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise MachineError(f"Expected to write a file at {path}, found a device or a pipe. Choose another place.")


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary name of this process alone, so that two that write the same file do not mix."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        yield temporary
    except Exception:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
