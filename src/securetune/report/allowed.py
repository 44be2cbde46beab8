"""Allowed: which budgets was the door given that has left this folder? The page's verdict is by them."""

import yaml

from securetune.base.artifacts import RunFolder, digest, write_atomic
from securetune.config import read_yaml, validated
from securetune.report.gate import Budgets

BUDGETS = "budgets.yaml"
"""In a run's folder, where a door was given budgets; `securetune gate --budgets` reads it as well."""


def keep_budgets(folder: RunFolder, budgets: Budgets) -> None:
    """Leave the budgets beside the configuration; what nobody has set stays unset."""
    text = yaml.safe_dump(budgets.model_dump(mode="json", exclude_unset=True), sort_keys=False)
    write_atomic(folder.path / BUDGETS, text)


def kept_budgets(folder: RunFolder) -> Budgets:
    """The budgets of the folder; the gate's defaults where none were given.

    Raises:
        ConfigError: the file was changed into something else.
    """
    path = folder.path / BUDGETS
    return validated(Budgets, read_yaml(path) if path.exists() else {}, str(path))


def budgets_digest(folder: RunFolder) -> str:
    """Hash of the same: other budgets make another page."""
    return digest(kept_budgets(folder).model_dump(mode="json"))
