"""Places: does a name mean something on this machine, or on the Hub?"""

from pathlib import Path

DATA_SUFFIXES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".gz", ".zip", ".xlsx")
"""What the names of data files end in."""
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
"""What the names of files of weights end in."""


def looks_local(name: str) -> bool:
    r"""Whether a name is written like a path on this machine, so that nobody else is asked about it.

    It begins with ``.``, ``/`` or ``~``, has more parts than an id on the Hub, has a ``\``, ends like a file, or begins
    with a folder that is here.
    """
    first, separator, _ = name.partition("/")
    return (
        name.startswith((".", "/", "~"))
        or name.count("/") > 1
        or "\\" in name
        or name.lower().endswith(DATA_SUFFIXES + WEIGHT_SUFFIXES)
        or bool(separator and Path(first).is_dir())
    )
