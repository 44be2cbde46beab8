"""Places: does a name mean something on this machine, in this package, or on the Hub?"""

import os
from importlib import resources
from pathlib import Path

SHIPPED = "securetune:"
"""What the name begins with of something that comes with the package."""
PACK = ("harmful", "twins", "ordinary")
"""The sets of the prompt pack, as in ``securetune:harmful``."""

DATA_SUFFIXES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".txt", ".gz")
"""What the names of data files that are read end in."""
_OTHER_SUFFIXES = (".arrow", ".feather", ".xls", ".xlsx", ".zip", ".zst", ".xz", ".bz2", ".tar")
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


def looks_local(name: str) -> bool:
    r"""Whether a name is written like a path on this machine, so that nobody else is asked about it.

    It begins with ``.``, ``/``, ``~`` or ``securetune:``, has more parts than an id on the Hub, has a ``\``, ends
    like a file, or begins with a folder that is here.
    """
    first, separator, _ = name.partition("/")
    return (
        name.startswith((".", "/", "~", SHIPPED))
        or name.count("/") > 1
        or "\\" in name
        or name.lower().endswith(DATA_SUFFIXES + _OTHER_SUFFIXES + _WEIGHT_SUFFIXES)
        or bool(separator and os.path.isdir(first))
    )


def expanded(name: str | Path) -> Path:
    """The path that a name means, ``~`` filled in; it stays where there is no such user, for which `Path` raises."""
    part = str(name).removeprefix(SHIPPED)
    if part != str(name) and part in PACK:
        return Path(str(resources.files("securetune"))) / "data" / "pack" / f"{part}.jsonl"
    return Path(os.path.expanduser(name))


def is_here(name: str | Path) -> bool:
    """Whether there is something at a path; no error where it cannot even be one, for which some of `Path` raise."""
    return os.path.exists(expanded(name))
