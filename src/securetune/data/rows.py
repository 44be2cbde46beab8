"""Rows: what stands in a file, whatever the form in which its authors ship it?

JSON Lines, a JSON list, CSV and TSV, Parquet, text with one prompt a line, and any of these under gzip. The content
tells the form where it can, else the suffix does.
"""

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from gzip import GzipFile
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from securetune.data.opened import Stream, decoded, lines, opened, whole
from securetune.errors import DataError

T = TypeVar("T")

_FORMS = "JSON Lines, a JSON list, CSV, TSV, Parquet or text with one prompt a line (each also under gzip)"
_REFUSED = {
    b"version https://git-lfs": "a Git-LFS pointer in place of the file: run `git lfs pull` where it was cloned",
    b"PK\x03\x04": "a zip archive or a spreadsheet: save it as CSV or JSON Lines",
    b"PK\x05\x06": "an empty zip archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet: save it as CSV",
    b"\x1f\x8b": "a file packed by gzip twice: unpack it once",
    b"ARROW1": "an Arrow file: save it as Parquet",
    b"\x28\xb5\x2f\xfd": "a file packed by zstd: unpack it",
    b"\xfd7zXZ": "a file packed by xz: unpack it",
    b"BZh": "a file packed by bzip2: unpack it",
}
"""First bytes of what is not read -> what it is, and what to do."""
_OPENING = 32
"""So many bytes tell what a file is."""
_SHOWN = 60
"""Letters of a line, and names of a table, that a message shows."""
_CONVERSATIONS = {"messages", "conversations", "conversation", "turns"}
_HOLDS_ROWS = ("data", "rows", "train", "examples")
"""What an object calls its rows beside which it says something of them."""


@dataclass(frozen=True, kw_only=True)
class FileRow:
    """One row of a file or of a data set on the Hub."""

    number: int
    """Its line in a text file, its place among the rows in others; from 1."""
    where: str
    """File and number, as errors name them."""
    fields: dict[str, Any]


def read_rows(path: str | Path) -> Iterator[FileRow]:
    """The rows of a file; those of a text file have one field, ``text``.

    JSON Lines, text and Parquet are read row by row, however long the file is; a JSON list and a table are held as they
    stand in it.

    Raises:
        DataError: no such file, a form that is not read, a row that is none, or no row at all.
    """
    count = 0
    with opened(path) as stream:
        for row in _rows(Path(path), stream):
            count += 1
            yield row
    if count == 0:
        raise DataError(f"Expected rows in {path}, found an empty file. Give a file with one JSON object per line.")


def _rows(path: Path, stream: Stream) -> Iterator[FileRow]:
    opening = stream.peek(_OPENING)[:_OPENING]
    for mark, what in _REFUSED.items():
        if opening.startswith(mark):
            raise DataError(f"Expected {_FORMS} in {path}, found {what}.")
    if opening.startswith(b"PAR1"):
        return _numbered(_parquet(path, stream), path)
    parts = decoded(path, stream)
    head, more = _head(parts), _head(parts)
    opens = "".join(head[-1:]).lstrip()
    first = opens.partition("\r")[0]
    is_alone = not "".join(more).strip() and opens.strip() == first.strip()
    parts = chain(head, more, parts)
    begin, suffix = first[:1], _suffix(path)
    is_object = begin == "{" and _is_json(first)
    if suffix in (".csv", ".tsv") and not is_object:
        return _table(path, "\n".join(parts), "\t" if suffix == ".tsv" else None)
    if suffix in (".txt", ".text") and not is_object:
        numbered = enumerate(lines(parts), 1)
        return (_row(path, "line", number, {"text": line.strip()}) for number, line in numbered if line.strip())
    if begin == "[" or (begin == "{" and (not is_object or (is_alone and suffix == ".json"))):
        return _json(path, "\n".join(parts))
    if begin in ("{", "") or suffix in (".jsonl", ".json", ".ndjson"):
        return _lines(path, lines(parts))
    raise DataError(
        f"Expected {_FORMS} in {path}, found a file that begins with {first[:20]!r}. Give it the suffix of its "
        "form, or save it in one of these."
    )


def _head(parts: Iterator[str]) -> list[str]:
    """The parts up to the first that is not blank."""
    head = []
    for part in parts:
        head.append(part)
        if part.strip():
            break
    return head


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def _row(path: Path, unit: str, number: int, fields: dict[str, Any]) -> FileRow:
    return FileRow(number=number, where=f"{path} {unit} {number}", fields=fields)


def _numbered(rows: Iterator[Any] | Sequence[Any], path: Path) -> Iterator[FileRow]:
    """Rows without lines of their own; a bare text is a row with the field ``text``."""
    for number, value in enumerate(rows, 1):
        fields = {"text": value} if isinstance(value, str) else value
        if not isinstance(fields, dict):
            raise DataError(
                f"Expected JSON objects or texts in the list in {path}, found list with {type(value).__name__} in row "
                f"{number}. Correct that row."
            )
        yield _row(path, "row", number, fields)


def _lines(path: Path, of_file: Iterable[str]) -> Iterator[FileRow]:
    for number, line in enumerate(of_file, 1):
        if not line.strip():
            continue
        value = _parsed(line, f"a JSON object in {path} line {number}")
        if not isinstance(value, dict):
            raise DataError(
                f"Expected a JSON object in {path} line {number}, found {type(value).__name__}. Correct that line."
            )
        yield _row(path, "line", number, value)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _parsed(text: str, expected: str) -> Any:
    """The JSON value in a text.

    Raises:
        DataError: it is none, is nested too deeply, or holds half a character.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"Expected {expected}, found {ascii(error.object[error.start])} alone, which is half a character (a lone "
            "surrogate). Write the whole character, or take it out."
        ) from error
    except RecursionError as error:
        raise DataError(f"Expected {expected}, found one that is nested too deeply. Take levels out.") from error
    except ValueError as error:
        raise DataError(f"Expected {expected}, found: {error} in {_begin(text)}. Correct it.") from error
    return value


def _begin(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} twice in one object")
    return fields


def _json(path: Path, text: str) -> Iterator[FileRow]:
    """The rows of a file that is one JSON value; where it is none, its lines tell what is wrong with them."""
    if text.lstrip().startswith("["):
        return _numbered(_parsed(text, f"a JSON list in {path}"), path)
    if not _is_json(text):
        return _lines(path, lines(iter(text.split("\n"))))
    return _numbered(_rows_of_object(_parsed(text, f"a JSON object in {path}"), path), path)


def _rows_of_object(whole: dict[str, Any], path: Path) -> Sequence[Any]:
    """The rows of one object: the only list of objects in it, or all texts in its lists, however they are grouped.

    Beside a list of rows under one of the usual names there may be values that say something of them.
    """
    named: list[Any] | None = next((whole[name] for name in _HOLDS_ROWS if isinstance(whole.get(name), list)), None)
    rest = [value for value in whole.values() if value is not named]
    if named and isinstance(named[0], dict) and rest and not any(isinstance(value, dict | list) for value in rest):
        return named
    if _CONVERSATIONS & whole.keys() or any(not isinstance(value, dict | list) for value in whole.values()):
        return [whole]
    filled = [value for value in whole.values() if value]
    if len(filled) == 1 and isinstance(filled[0], list) and not isinstance(filled[0][0], str):
        return filled[0]
    columns = {"prompt", "prompts", "instruction", "instructions", "question", "questions", "output", "outputs"}
    if len(filled) > 1 and columns & {key.casefold() for key in whole}:
        raise DataError(
            f"Expected one list of rows in {path}, found the columns {sorted(whole)}. Save it with one object per row."
        )
    return [text for value in filled for text in _texts(value, path)]


def _texts(value: Any, path: Path) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and not any(isinstance(part, dict) for part in value):
        for part in value:
            yield from _texts(part, path)
    elif isinstance(value, dict) and not any(isinstance(part, str) for part in value.values()):
        for part in value.values():
            yield from _texts(part, path)
    else:
        what = "objects with fields of their own" if isinstance(value, dict | list) else type(value).__name__
        raise DataError(
            f"Expected lists of prompts in the one object in {path}, found {what} among them. Give a file with one "
            "JSON object per line."
        )


def _parquet(path: Path, stream: Stream) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        # A packed stream would go back by starting anew.
        table = ParquetFile(io.BytesIO(whole(path, stream)) if isinstance(stream, GzipFile) else stream)
        _check_names(table.schema_arrow.names, path)
        for batch in table.iter_batches():
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split("\n", 1)[0].split()).rstrip(".")
        raise DataError(f"Expected a whole Parquet file at {path}, found: {reason}. Copy it again.") from error


def _table(path: Path, text: str, delimiter: str | None) -> Iterator[FileRow]:
    body = text.lstrip("\r\n")
    above = len(list(lines(iter(text[: len(text) - len(body)].split("\n"))))) - 1
    header = body.split("\n", 1)[0]
    delimiter = delimiter or max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True)
    names = [name.strip() for name in _next(reader, lambda: reader.fieldnames, path, above) or []]
    _check_names(names, path)
    while (row := _next(reader, lambda: next(reader, None), path, above)) is not None:
        line = above + reader.line_num
        yield _row(path, "line", line, _fields(row, names, f"{path} line {line}"))


def _next(reader: "csv.DictReader[str]", read: Callable[[], T], path: Path, above: int) -> T:
    """What a table holds next, be its fields as long as they like; `above` lines are blank before it."""
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        return read()
    except csv.Error as error:
        raise DataError(
            f"Expected a table in {path}, found in line {above + reader.reader.line_num}: {error}. Correct it: a text "
            "with a quote, a comma or a line break stands in double quotes."
        ) from error
    finally:
        csv.field_size_limit(limit)


def _check_names(names: Sequence[str], path: Path) -> None:
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise DataError(f"Expected columns of distinct names in {path}, found {_begin(twice)} twice. Rename one.")


def _fields(row: dict[str | Any, Any], names: Sequence[str], where: str) -> dict[str, Any]:
    if None in row or None in row.values():
        extra = row.get(None) or []
        filled = sum(value is not None for name, value in row.items() if name is not None) + len(extra)
        raise DataError(
            f"Expected {len(names)} fields ({_listed(names)}) in {where}, found {filled}. Correct that line, or save "
            "the table again."
        )
    return dict(zip(names, row.values(), strict=True))


def _listed(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
