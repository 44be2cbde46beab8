"""Arrow: how do rows get to a trainer without all of them in memory?

As a data set that is mapped into memory from a file. What `datasets` makes of it (tokens, above all) it keeps beside
that file, so both go when the folder goes, and nothing stays in the cache of all data sets.
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow
from datasets import Dataset

from securetune.base.machine import writing
from securetune.data.prompts import Example
from securetune.models.libraries import processes

_MESSAGES = pyarrow.list_(pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())]))
_SCHEMA = pyarrow.schema([("prompt", _MESSAGES), ("completion", _MESSAGES)])
_TOGETHER = 1000
"""Rows that are held at once."""


def arrow_folder(work: Path) -> Path:
    """An empty folder of this process in the work folder of a training."""
    folder = work / f"rows-{processes().process_index}"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def arrow_rows(rows: Sequence[Example], path: Path) -> Dataset:
    """The rows as a data set, written to `path`.

    Raises:
        MachineError: there is no room for them.
    """
    with writing(path), pyarrow.ipc.new_stream(str(path), _SCHEMA) as stream:
        for start in range(0, len(rows), _TOGETHER):
            stream.write_batch(pyarrow.RecordBatch.from_pylist(list(rows[start : start + _TOGETHER]), _SCHEMA))
    return Dataset.from_file(str(path))


def drop_stages(folder: Path, used: Sequence[Dataset]) -> None:
    """Remove what was made on the way to data sets in a folder, several times what they take themselves."""
    kept = {Path(file["filename"]).resolve() for dataset in used for file in dataset.cache_files}
    for file in folder.iterdir():
        if file.resolve() not in kept:
            with suppress(PermissionError):  # not every system gives up a file that is still mapped
                file.unlink()
