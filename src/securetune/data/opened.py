"""Opened: which bytes and lines are in a file of rows, packed or not, without holding it whole?"""

import gzip
import io
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from securetune.base.places import expanded
from securetune.base.texts import without_waiting
from securetune.errors import DataError

Stream = io.BufferedReader | gzip.GzipFile
LARGEST = 8 << 30
"""Bytes of the largest file that is read, unpacked: forms other than JSON Lines and text are held in memory."""
_GZIP = b"\x1f\x8b"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@contextmanager
def opened(path: str | Path) -> Iterator[Stream]:
    """The bytes of a file, unpacked where they are packed by gzip.

    Raises:
        DataError: no such file, one that is no regular file or too large, or half of a packed one.
    """
    with _file(path) as packed:
        try:
            if packed.peek(len(_GZIP)).startswith(_GZIP):
                with gzip.open(packed) as unpacked:
                    yield unpacked
            else:
                yield packed
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"Expected a whole gzip file at {path}, found: {error}. Copy it again.") from error
        except OSError as error:
            raise _unreadable(path, error) from error


def _file(path: str | Path) -> io.BufferedReader:
    try:
        place = expanded(path)
        status = place.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise DataError(
                f"Expected a file of rows at {path}, found a device or a pipe, which can be read once at most. Save "
                "what comes out of it as a file."
            )
        if status.st_size > LARGEST:
            raise _too_large(path)
        return open(place, "rb", opener=without_waiting)
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error)
    return DataError(f"Expected a file of rows at {path}, found: {reason}. Check the path.")


def whole(path: str | Path, stream: Stream) -> bytes:
    """All bytes of a stream.

    Raises:
        DataError: it is too large.
    """
    content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise _too_large(path)
    return content


def decoded(path: str | Path, stream: Stream) -> Iterator[str]:
    r"""The parts of a text that end with ``\n``, each without it; U+2028 may stand raw in one, and ``\r``.

    Raises:
        DataError: it is too large, or no UTF-8 text.
    """
    number = size = 0
    while line := stream.readline(LARGEST - size + 1):
        number, size = number + 1, size + len(line)
        if size > LARGEST:
            raise _too_large(path)
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            kind = "UTF-16" if line.startswith(_UTF_16) else "not UTF-8 text but bytes of another kind"
            raise DataError(
                f"Expected UTF-8 text in {path}, found {kind} in line {number}. Save the file as UTF-8."
            ) from error
        if "\0" in text:
            raise DataError(
                f"Expected UTF-8 text in {path}, found a zero byte in line {number}: no text has one, but UTF-16 and "
                "files that are not text do. Save it as UTF-8, or copy it again."
            )
        yield text.removesuffix("\n")


def lines(parts: Iterator[str]) -> Iterator[str]:
    r"""The lines of a text, by whichever system it was written (``\n``, ``\r\n`` or ``\r``)."""
    for part in parts:
        if "\r" in part:
            yield from part.removesuffix("\r").split("\r")
        else:
            yield part


def _too_large(path: str | Path) -> DataError:
    return DataError(
        f"Expected a file of rows of at most {LARGEST >> 30} GiB at {path}, found more. Check that it is the one you "
        "mean, and take out what is not needed."
    )
