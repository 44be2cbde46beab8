"""Folders: which files of a folder are the rows that are meant?

A folder of files of rows, as a data set is copied from the Hub, or one that `datasets` has saved to disk.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from securetune.base.places import DATA_SUFFIXES, expanded
from securetune.data.rows import FileRow, read_rows
from securetune.errors import DataError

_ABOUT = re.compile(r"(dataset_infos?|dataset_dict|state|config|metadata)\.json|readme.*|licen[cs]e.*|requirements.*")
"""Names of files that tell of a data set, and hold none of it."""
_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}
"""What folders and files of a split are called -> the split."""
_SAVED = ("dataset_dict.json", "state.json")
"""Files that `save_to_disk` leaves, of several splits or of one."""


def folder_rows(path: str, split: str) -> Iterator[FileRow]:
    """The rows of one split of a folder; where no name tells a split, those of all its files, by their names.

    Raises:
        DataError: no file of rows, or none of that split.
    """
    folder = expanded(path)
    if any((folder / name).is_file() for name in _SAVED):
        return _saved_rows(path, split)
    files = [file for file in sorted(folder.rglob("*")) if _holds_rows(file, folder)]
    if not files:
        raise DataError(
            f"Expected files of rows in the folder {path}, found none that ends in {', '.join(DATA_SUFFIXES)}. Give "
            "the folder or the file in which they are."
        )
    by_split: dict[str | None, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file, folder), []).append(file)
    if set(by_split) == {None}:
        return (row for file in files for row in read_rows(file))
    if None in by_split:
        raise DataError(
            f"Expected every file of rows in the folder {path} to name its split, as some do, found "
            f"{by_split[None][0].name!r}. Take it out, or give one file."
        )
    wanted = _SPLITS.get(split.casefold(), split)
    if wanted not in by_split:
        raise DataError(
            f"Expected files of the split {split!r} in the folder {path}, found those of "
            f"{sorted(name for name in by_split if name)}. Set `split` to one of them, or give one file."
        )
    return (row for file in by_split[wanted] for row in read_rows(file))


def _holds_rows(file: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    name = file.name.lower()
    return file.is_file() and not is_hidden and name.endswith(DATA_SUFFIXES) and not _ABOUT.fullmatch(name)


def _split_of(file: Path, folder: Path) -> str | None:
    """The split that a file's name begins with, or that a folder above it is called."""
    *above, name = file.relative_to(folder).parts
    words = [re.split(r"[^a-z]", name.lower())[0], *(part.lower() for part in reversed(above))]
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def _saved_rows(path: str, split: str) -> Iterator[FileRow]:
    from datasets import Dataset, load_from_disk

    try:
        found: Any = load_from_disk(str(expanded(path)))
    except Exception as error:  # a folder may hold anything
        raise DataError(
            f"Expected a data set that `save_to_disk` has written in the folder {path}, found: "
            f"{str(error).splitlines()[0].rstrip('.')}. Save it again, or give a file of rows."
        ) from error
    if not isinstance(found, Dataset):
        if split not in found:
            raise DataError(
                f"Expected the split {split!r} in the folder {path}, found {sorted(found)}. Set `split` to one of them."
            )
        found = found[split]
    for number, row in enumerate(found, 1):
        yield FileRow(number=number, where=f"{path} row {number}", fields=dict(row))
