"""Outside: how is a plug-in loaded that is not in this package, but in a user's file or another distribution?

A file's plug-in is called ``path/to/mine.py:Name``. A distribution offers its own under names of their own, by entry
points in the group ``securetune.<kind in plural>``.
"""

import functools
import importlib.metadata
import inspect
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

from securetune.base.artifacts import digest, digest_path
from securetune.errors import RegistryError

_SUFFIX = ".py:"


def file_of(name: str) -> Path | None:
    """The file that a plug-in's name names; None for a registered name."""
    path, separator, _ = name.rpartition(_SUFFIX)
    return Path(f"{path}.py") if separator else None


def load_file(kind: str, name: str) -> object:
    """The object that ``path/to/mine.py:Name`` names; the file is run once as long as it stays the same.

    Raises:
        RegistryError: no such file, a file that cannot be run, or nothing of that name in it.
    """
    path, attribute = file_of(name), name.rpartition(":")[2]
    assert path is not None, name
    if not path.is_file():
        raise RegistryError(
            f"Expected a {kind} in the file {path}, found no such file. Correct the path: it counts from the folder "
            f"you are in, {Path.cwd()}."
        )
    module = _module(kind, path)
    if not hasattr(module, attribute):
        names = sorted(n for n, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__)
        raise RegistryError(f"Expected {attribute} in {path}, found {', '.join(names) or 'nothing'}. Correct the name.")
    loaded: object = getattr(module, attribute)
    return loaded


def source_digest(kind: type) -> str:
    """Hash of the file that a class stands in, which may change while its name stays."""
    return digest_path(Path(inspect.getfile(kind)))


def _module(kind: str, path: Path) -> ModuleType:
    file = str(path.resolve())
    name = f"{path.stem}_{digest([file, digest_path(path)])}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = file
    sys.modules[name] = module  # before it runs: pydantic and dataclasses look their classes' module up there
    try:
        # No import: that would take the compiled file of a moment ago for one of the same second and length.
        exec(compile(path.read_bytes(), file, "exec"), vars(module))
    except Exception as error:
        del sys.modules[name]
        raise RegistryError(f"Expected a {kind} in {path}, found a file that fails: {error!r}. Correct it.") from error
    return module


@functools.cache
def offered(kind: str, group: str, our_names: frozenset[str]) -> dict[str, EntryPoint]:
    """What installed distributions offer in a group, by name; nothing is imported.

    Raises:
        RegistryError: a name that one of ours or another distribution has.
    """
    points: dict[str, EntryPoint] = {}
    for point in importlib.metadata.entry_points(group=group):
        if point.name in our_names or point.name in points:
            other = "securetune" if point.name in our_names else _distribution(points[point.name])
            raise RegistryError(
                f"Expected one {kind} called {point.name!r}, found that of {other} and one that the distribution "
                f"{_distribution(point)} offers. Uninstall {_distribution(point)}, or have it rename its entry point."
            )
        points[point.name] = point
    return points


def load_entry_point(kind: str, point: EntryPoint) -> object:
    """The object that an entry point names.

    Raises:
        RegistryError: it cannot be imported.
    """
    try:
        loaded: object = point.load()
    except Exception as error:
        raise RegistryError(
            f"Expected the {kind} {point.name} of the distribution {_distribution(point)}, found that {point.value} "
            f"cannot be imported: {error!r}. Update or uninstall {_distribution(point)}."
        ) from error
    return loaded


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
