"""Publish: what of a finished run leaves the machine, and is it what was measured?"""

import json
import os
import shutil
from pathlib import Path

from securetune.base.artifacts import write_atomic
from securetune.base.machine import writing
from securetune.errors import ConfigError
from securetune.report.card import hub_id, render_card
from securetune.report.intact import check_files
from securetune.report.reading import Run

_KEPT_BACK = ("training_args.bin", "README.md")
"""A pickle with this machine's paths, and the trainer's own card."""
_NAMES_OF_BASE = {"adapter_config.json": "base_model_name_or_path", "config.json": "_name_or_path"}
"""By file: the field in which a library keeps where the base model lay."""


def publish(run: Run, arm: str, output: Path, base_model: str | None = None) -> None:
    """Copy what an arm's training has left into a new folder, with its card.

    Args:
        run: a finished run.
        arm: which of its arms.
        output: the new folder; it is there whole or not at all.
        base_model: id on the Hub of the model that was tuned; by default the run's, where it has one.

    Raises:
        ArtifactError: the arm was not tuned and evaluated, or its files are not those that were.
        ConfigError: there is something at `output`, or `base_model` is no id.
    """
    if base_model is not None and hub_id(base_model) is None:
        raise ConfigError(
            f"Expected the model's id on the Hub as the base model, such as meta-llama/Llama-2-7b-chat-hf, found "
            f"{base_model!r}. Correct it, or leave it out."
        )
    card = render_card(run, arm, base_model)
    if output.exists():
        raise ConfigError(f"Expected a new folder, found {output} there already. Choose another output.")
    check_files(run.folder, run.folder.needed("train", arm))
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    trained, kept_back = run.folder.file("train", arm, ""), shutil.ignore_patterns(*_KEPT_BACK)
    shutil.copytree(trained, partial, ignore=kept_back, copy_function=_copy)
    _rename_base(partial, base_model or hub_id(run.config.model.path))
    write_atomic(partial / "README.md", card)
    os.replace(partial, output)


def _copy(source: str, target: str) -> None:
    """Copy a file; what the machine refuses ends the copying, where `copytree` would go on and lose the reason."""
    with writing(Path(target)):
        shutil.copy2(source, target)


def _rename_base(folder: Path, name: str | None) -> None:
    """Put a name that others know in the place of a path of this machine."""
    for file, field in _NAMES_OF_BASE.items():
        place = folder / file
        if place.exists():
            settings = json.loads(place.read_text(encoding="utf-8"))
            if field in settings and settings[field] != name:
                write_atomic(place, json.dumps(settings | {field: name}, indent=2, sort_keys=True) + "\n")
