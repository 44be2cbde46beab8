"""Models: how does every model do on every set, and on the task?"""

from collections.abc import Sequence
from dataclasses import dataclass

from securetune.report.change import recovered
from securetune.report.reading import Model, Run
from securetune.report.sections.base.section import Section, Table
from securetune.report.tables import percent, set_title, versus_plain


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Every model on every set."""

    table: Table
    is_check: bool


def data(run: Run) -> Compared:
    """A row per set, a column per model; what only training tells is left out of a check."""
    models = run.models
    rates: list[list[object]] = [
        [set_title(before), *(percent(model.benchmarks[number].rate) for model in models)]
        for number, before in enumerate(models[0].benchmarks)
    ]
    task: list[list[object]] = []
    if models[0].has_task:
        task = [
            ["task metric", *(percent(model.score) for model in models)],
            ["task loss", *(f"{model.loss:.4f}" for model in models)],
        ]
    rows = [*rates, *task]
    if not run.is_check:
        rows = [*rates, ["rise taken back", *(_taken_back(run, model) for model in models)], *task, *_training(models)]
    told = [row for row in rows if any(cell != "–" for cell in row[1:])]
    table = Table(label="Every model on every set", head=["set", *(model.title for model in models)], rows=told)
    return Compared(table=table, is_check=run.is_check)


def _training(models: Sequence[Model]) -> list[list[object]]:
    return [
        ["task loss against plain tuning", *map(versus_plain, models)],
        ["steps", *("–" if model.steps is None else model.steps for model in models)],
    ]


def _taken_back(run: Run, model: Model) -> str:
    share = recovered(run.models, model)
    return "–" if share is None else f"{100 * share:.0f} %"


section = Section(title="Before and after", anchor="compared", navigation="All models", data=data)
