"""Live: how does a model or rows that somebody holds in Python get to a door, which reads files?

They are written into the output folder, as `save_pretrained` and JSON Lines do, and count by their content there. What
is a path or an id on the Hub already stays one.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.files import PARTIAL, digest_path, write_atomic, write_parts_atomic
from securetune.base.machine import writing
from securetune.doors.check import free_names
from securetune.doors.tune import GIVEN
from securetune.errors import DataError, ModelError

Model: TypeAlias = PreTrainedModel | PeftModel
Rows: TypeAlias = Iterable[Mapping[str, Any]]


def named(tuned: Any) -> Mapping[str, str | Path | Model]:
    """Tuned models by the names that tables give them: paths by their last parts, live ones are called ``tuned``."""
    if isinstance(tuned, Mapping):
        return tuned
    if isinstance(tuned, Model):
        return {"tuned": tuned}
    if not isinstance(tuned, str | Path) and any(isinstance(one, Model) for one in tuned):
        return {f"tuned-{number}": one for number, one in enumerate(tuned, 1)}
    return free_names(tuned)


def path_of(model: str | Path | Model, tokenizer: PreTrainedTokenizerBase | None, output: Path) -> str | Path:
    """Where the model before tuning lies; a live one is written there with its tokenizer.

    Raises:
        ModelError: adapters are in a live one, it has no tokenizer, or one that is not live has.
    """
    if not isinstance(model, Model):
        if tokenizer is not None:
            raise ModelError(
                f"Expected `tokenizer` with a live model only, found it with {str(model)!r}, whose own is used. Leave "
                "it out, or save it there."
            )
        return model
    if isinstance(model, PeftModel) or any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise ModelError(
            "Expected the model before tuning, found a live one with adapters in it: PEFT puts them into the model "
            "that it is given. Give the folder or Hub id that it was loaded from."
        )
    if tokenizer is None:
        raise ModelError(
            "Expected a tokenizer with a live model, found none. Give it as `tokenizer`, or give the model's folder or "
            "Hub id."
        )
    return _saved(model, tokenizer, output / GIVEN / "model")


def tuned_paths(tuned: Mapping[str, str | Path | Model], output: Path) -> dict[str, str | Path]:
    """Where tuned models lie; live ones are written there: of a PEFT model its adapter, else the whole model."""
    return {
        name: _saved(one, None, output / GIVEN / f"tuned-{number}") if isinstance(one, Model) else one
        for number, (name, one) in enumerate(tuned.items(), 1)
    }


def rows_path(rows: str | Path | Rows, output: Path, name: str = "rows") -> str:
    """Where rows lie; dictionaries, a data set of `datasets` among them, are written there.

    Raises:
        DataError: something in them is no dictionary, or nothing that JSON has.
    """
    if isinstance(rows, str | Path):
        return str(rows)
    file = output / GIVEN / f"{name}.jsonl"
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_parts_atomic(file, _lines(rows))
    return str(file)


def _lines(rows: Rows) -> Iterator[str]:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise DataError(
                f"Expected rows as dictionaries, found {type(row).__name__} as row {number}. Give a list of "
                "dictionaries, one split of a data set, or a file."
            )
        try:
            yield json.dumps(dict(row)) + "\n"
        except (TypeError, ValueError) as error:
            raise DataError(
                f"Expected rows of texts, numbers, lists and dictionaries, found in row {number}: {error}. Take that "
                "out, or write it as text."
            ) from error


def _saved(model: Model, tokenizer: PreTrainedTokenizerBase | None, folder: Path) -> str:
    """Write a model whole or not at all, in the place of one that was given before; the same one stays there."""
    partial = folder.with_name(f".{folder.name}{PARTIAL}")
    with writing(folder):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        model.save_pretrained(str(partial))
        if tokenizer is not None:
            tokenizer.save_pretrained(str(partial))
        _sort_modules(partial / "adapter_config.json")
        if folder.exists() and digest_path(folder) == digest_path(partial):  # files count by their times, too
            shutil.rmtree(partial)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial, folder)
    return str(folder)


def _sort_modules(file: Path) -> None:
    """PEFT writes the names of modules in another order in every process; the same adapter has the same bytes here."""
    if file.is_file():
        settings = json.loads(file.read_text(encoding="utf-8"))
        names = settings.get("target_modules")
        if isinstance(names, list):  # a pattern is a text
            write_atomic(file, json.dumps(settings | {"target_modules": sorted(names)}, indent=2))
