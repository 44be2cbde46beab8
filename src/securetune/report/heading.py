"""Heading: which models, tuned on what, were compared, on how much, and when?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from securetune.base.artifacts import CONFIG
from securetune.config import read_yaml
from securetune.report.reading import Model, Run


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One line of the heading."""

    what: str
    value: str


def heading(run: Run) -> list[Fact]:
    """The model before tuning, the tuned ones, the rows, the prompts and the date.

    It reads the configuration as it stands: that of a check is not a run's.
    """
    path = run.folder.path / CONFIG
    raw: Mapping[str, Any] = read_yaml(path) if path.exists() else {}
    given = raw.get("tuned") if run.is_check else None
    tuned = [f"{model.title}{_at(given, model)}" for model in run.models[1:]]
    task = raw.get("task") or {}
    rows = _path(task.get("rows" if run.is_check else "train"))
    sets = run.models[0].benchmarks
    dates = [made.created for made in run.artifacts if made.stage == "evaluate"]
    named = f"{task['name']} ({rows})" if rows and task.get("name") else rows
    of_rows = [Fact(what="Rows of the task" if run.is_check else "Tuned on", value=named)] if named else []
    return [
        Fact(what="Model before tuning", value=_path(raw.get("model")) or "unknown"),
        Fact(what="Compared with it", value=", ".join(tuned)),
        *of_rows,
        Fact(what="Asked", value=f"{sum(one.coherent.n for one in sets)} prompts of {_sets(len(sets))}"),
        *([Fact(what="To know", value=" ".join(run.notes))] if run.notes else []),
        Fact(what="Measured", value=max(dates, default="unknown").replace("T", " ").removesuffix("Z") + " UTC"),
    ]


def _sets(count: int) -> str:
    return "1 set" if count == 1 else f"{count} sets"


def _at(given: object, model: Model) -> str:
    """Where a model lies that was tuned elsewhere."""
    path = _path(given.get(model.arm)) if isinstance(given, Mapping) else ""
    return f" ({path})" if path and path != model.title else ""


def _path(source: object) -> str:
    """The path of a model or of rows, which a configuration may give in a word or among other fields."""
    if isinstance(source, Mapping):
        source = source.get("path", "")
    return source if isinstance(source, str) else ""
