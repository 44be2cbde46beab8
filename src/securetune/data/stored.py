"""Stored: how are a million rows kept at hand without a million Python objects?

Every row is a line of JSON in a file that has no name: the system takes it away when nobody reads it any more, and when
the process is killed.
"""

import json
import tempfile
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from securetune.base.machine import writing
from securetune.data.drawn import Rows
from securetune.data.prompts import Example


class StoredRows(Rows[Example]):
    """Rows in such a file, in the order in which they were written."""

    def __init__(self, file: IO[bytes], starts: "array[int]") -> None:
        """`starts` says at which byte every row begins, and at last where the file ends."""
        self._file, self._starts = file, starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    def row(self, place: int) -> Example:
        """The row at a place from 0."""
        start, end = self._starts[place : place + 2]
        self._file.seek(start)
        example: Example = json.loads(self._file.read(end - start))
        return example


def store(rows: Iterable[Example], folder: Path | None = None) -> StoredRows:
    """Write rows, one at a time.

    Args:
        rows: what to write.
        folder: where there is room; by default where the system keeps temporary files.

    Raises:
        MachineError: there is no room.
    """
    starts = array("q", [0])
    with writing(folder or Path(tempfile.gettempdir())):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  open for as long as its rows are read
        for row in rows:
            starts.append(starts[-1] + file.write(json.dumps(row).encode()))
        file.flush()
    return StoredRows(file, starts)
