"""Source: where a benchmark comes from, and how its rows become prompts."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from securetune.base.artifacts import Journal
from securetune.base.places import DATA_SUFFIXES, expanded
from securetune.data.prompts import Prompt, load_prompts, prompt_of
from securetune.errors import DataError
from securetune.evaluate.config import SKILL_METRIC, SkillMetric
from securetune.measures.kinds import Kind

_GITHUB = "https://raw.githubusercontent.com"
_FORMATS = {".csv": "csv", ".jsonl": "json", ".txt": "text"}
"""Suffix of a file -> the data set builder that reads it."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A public benchmark."""

    title: str
    kind: Kind
    paper: str
    licence: str
    """As its publisher states it."""
    version: int = 1
    """Counts up when the same rows would give other prompts."""
    dataset: str
    """Repository: on the Hub, or on GitHub where `path` is given."""
    path: str | None = None
    """File in the GitHub repository: CSV, JSONL, or text with one prompt per line. Needs a `revision`."""
    subset: str | None = None
    split: str = "train"
    reading: Mapping[str, Any] = field(default_factory=dict)
    """What reading the repository's files needs, as `datasets.load_dataset` names it."""
    revision: str | None = None
    """Commit that somebody has checked; None for the newest at the first reading."""
    prompt: str = "prompt"
    """Field of the prompt; of a list of turns the first is taken."""
    reference: str | None = None
    """Field of the right answer."""
    metric: SkillMetric = SKILL_METRIC
    """How an answer is compared with the right one, where the kind has right answers."""
    rows: Mapping[str, Any] = field(default_factory=dict)
    """Only rows whose fields have these values."""
    file: str
    """Name of its file in a folder of benchmarks; another suffix will do, and so will its authors' name."""
    label: str | None = None
    """Label of its rows in that file, where the file holds others too."""
    fixture: tuple[Mapping[str, Any], ...]
    """Harmless rows, ours, in the form of the Hub's."""

    def load(self, path: str | None = None, commit: str | None = None) -> tuple[Prompt, ...]:
        """All prompts: from a file, from a folder that holds `file`, or from the repository at a commit.

        Raises:
            DataError: nothing there, or rows of another form.
        """
        if path is None:
            return self.prompts(self._rows(commit or self.revision))
        return load_prompts(
            self.local_file(path),
            label=self.label,
            field=self.prompt,
            where=self.rows,
            reference=self.reference or "answer",
        )

    def commit(self, pins: Journal, revision: str | None = None) -> str | None:
        """The commit that is read where a user asks for `revision`; a first reading pins what nobody else has.

        None where the Hub cannot be asked for its newest; then a copy in the cache may still be read.

        Args:
            pins: commits of first readings, by repository; a new one is added.
            revision: what the user asks for.
        """
        from huggingface_hub import HfApi

        commit: str | None = revision or self.revision or pins.get(self.dataset)
        if commit is None:
            try:
                commit = HfApi().dataset_info(self.dataset).sha
            except Exception:  # the Hub client raises many kinds
                return None
            pins.keep(self.dataset, commit)
        return commit

    def local_file(self, path: str) -> Path:
        """The file itself, where `path` is the folder that holds it, by our name or by its authors'."""
        place = expanded(path)
        if not os.path.isdir(place):
            return place
        stem = Path(self.file).stem
        names = [self.file, Path(self.path or self.file).name, *(stem + suffix for suffix in DATA_SUFFIXES)]
        return next((place / name for name in names if (place / name).is_file()), place / self.file)

    def prompts(self, rows: Iterable[Mapping[str, Any]]) -> tuple[Prompt, ...]:
        """Prompts of rows in the Hub's form.

        Raises:
            DataError: a row without a prompt, or no row left.
        """
        prompts = []
        for number, row in enumerate(rows):
            if any(row.get(name) != value for name, value in self.rows.items()):
                continue
            text = row.get(self.prompt)
            text = text[0] if isinstance(text, list) and text else text
            if not isinstance(text, str) or not text.strip():
                raise DataError(
                    f"Expected text in the field {self.prompt!r} of {self.dataset} row {number}, found fields "
                    f"{sorted(row)}. The data set has changed: give a revision, or a file with `path`."
                )
            name = f"{Path(self.file).stem}_{number}"
            prompts.append(prompt_of(text, name, row, reference=row.get(self.reference or "")))
        if not prompts:
            raise DataError(
                f"Expected rows with {dict(self.rows)} in {self.dataset}, found none. Give another revision."
            )
        return tuple(prompts)

    def _rows(self, commit: str | None) -> Iterable[Mapping[str, Any]]:
        from datasets import load_dataset

        try:
            if self.path is None:
                hub: Iterable[Mapping[str, Any]] = load_dataset(
                    self.dataset, self.subset, split=self.split, revision=commit, **self.reading
                )
                return hub
            url = f"{_GITHUB}/{self.dataset}/{commit}/{quote(self.path)}"
            file: Iterable[Mapping[str, Any]] = load_dataset(
                _FORMATS[Path(self.path).suffix], data_files=url, split="train"
            )
            return file
        except Exception as error:  # the Hub client raises many kinds
            raise DataError(
                f"Expected {self.title} in {self.dataset} ({self.path or self.split} at {commit or 'its newest'}), "
                f"found: {str(error).splitlines()[0].rstrip('.')}. Check the network and your access, or give its file "
                "or folder with `path`."
            ) from error
