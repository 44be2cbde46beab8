"""Source: where a benchmark comes from, and how its rows become prompts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securetune.errors import DataError
from securetune.evaluate.judges.interface import Kind
from securetune.prompts import Prompt, load_prompts, prompt_of


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
    """Id on the Hub."""
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    """Commit on the Hub; None until somebody has checked one, then the newest, which the artifact names."""
    prompt: str = "prompt"
    """Field of the prompt; of a list of turns the first is taken."""
    reference: str | None = None
    """Field of the right answer."""
    rows: Mapping[str, Any] = field(default_factory=dict)
    """Only rows whose fields have these values."""
    file: str
    """Name of its file in a folder of benchmarks, JSONL."""
    label: str | None = None
    """Label of its rows in that file, where the file holds others too."""
    fixture: tuple[Mapping[str, Any], ...]
    """Harmless rows, ours, in the form of the Hub's."""

    def load(self, path: str | None = None, revision: str | None = None) -> tuple[Prompt, ...]:
        """All prompts: from a file, from a folder that holds `file`, or from the Hub.

        Raises:
            DataError: nothing there, or rows of another form.
        """
        if path is None:
            return self.prompts(self._hub_rows(revision or self.revision))
        return load_prompts(self.local_file(path), label=self.label)

    def local_file(self, path: str) -> Path:
        """The file itself, where `path` is the folder that holds it."""
        place = Path(path)
        return place / self.file if place.is_dir() else place

    def prompts(self, rows: Iterable[Mapping[str, Any]]) -> tuple[Prompt, ...]:
        """Prompts of rows in the Hub's form.

        Raises:
            DataError: a row without a prompt, or no row left.
        """
        found = []
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
            found.append(prompt_of(text, name, row, reference=row.get(self.reference or "")))
        if not found:
            raise DataError(
                f"Expected rows with {dict(self.rows)} in {self.dataset}, found none. Give another revision."
            )
        return tuple(found)

    def _hub_rows(self, revision: str | None) -> Iterable[Mapping[str, Any]]:
        from datasets import load_dataset

        try:
            rows: Iterable[Mapping[str, Any]] = load_dataset(
                self.dataset, self.subset, split=self.split, revision=revision
            )
        except Exception as error:  # the Hub client raises many kinds
            raise DataError(
                f"Expected {self.title} on the Hub ({self.dataset}, {self.split}), found: "
                f"{str(error).splitlines()[0].rstrip('.')}. Check the network and your access, or give its file or "
                "folder with `path`."
            ) from error
        return rows
