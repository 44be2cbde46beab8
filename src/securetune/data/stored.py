"""Stored: how are a million rows kept at hand without a million Python objects?

Every row is JSON in a file that has no name: the system takes it away when nobody reads it any more, and when the
process is killed. Rows of a file that has a name can be read in the same way.
"""

import json
import tempfile
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TypeVar

from securetune.base.machine import writing
from securetune.base.typed import from_json, to_json
from securetune.data.drawn import Rows

T = TypeVar("T")


class StoredRows(Rows[T]):
    """Rows in such a file, in the order in which they were written."""

    def __init__(self, file: IO[bytes], starts: "array[int]", kind: type[T] | None = None) -> None:
        """Read rows when they are asked for.

        Args:
            file: where they are; behind each may stand a comma and the end of its line.
            starts: at which byte every row begins, and at last where the last one ends.
            kind: the dataclass that they are of; by default they are JSON values.
        """
        self._file, self._starts, self._kind = file, starts, kind

    def __len__(self) -> int:
        return len(self._starts) - 1

    def row(self, place: int) -> T:
        """The row at a place from 0."""
        start, end = self._starts[place : place + 2]
        self._file.seek(start)
        values = json.loads(self._file.read(end - start).rstrip(b",\n"))
        return values if self._kind is None else from_json(self._kind, values, self._file.name)


def store(rows: Iterable[T], folder: Path | None = None, *, kind: type[T] | None = None) -> StoredRows[T]:
    """Write rows, one at a time.

    Args:
        rows: what to write.
        folder: where there is room; by default where the system keeps temporary files.
        kind: the dataclass that they are of; by default they are JSON values.

    Raises:
        MachineError: there is no room.
    """
    starts = array("q", [0])
    with writing(folder or Path(tempfile.gettempdir())):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  open for as long as its rows are read
        for row in rows:
            values = row if kind is None else to_json(row)
            starts.append(starts[-1] + file.write(json.dumps(values).encode()))
        file.flush()
    return StoredRows(file, starts, kind)
