"""Terminal: what was found before any work, and the comparison as the last lines of a run."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from securetune.base.terminal import for_terminal
from securetune.evaluate.preflight import Preflight
from securetune.measures.kinds import BENIGN, HARMFUL, Kind
from securetune.report.preflight import preflight_lines
from securetune.report.reading import Run
from securetune.report.tables import percent, versus_plain
from securetune.report.verdict import advice, verdict

_WIDTH = 132


def _plain(text: str) -> Text:
    """The text as it is: to rich, what stands in square brackets is markup."""
    return Text(for_terminal(text))


def print_summary(run: Run) -> None:
    """Print every model's worst rates and task numbers with their intervals, then the verdict."""
    print_models(run)
    console = _console()
    console.print(_plain(verdict(run.models)))
    console.print(_plain(f"What to do: {advice(run.models)}"))


def print_models(run: Run) -> None:
    """Print where the report lies, and every model's worst rates and task numbers with their intervals."""
    console = _console()
    console.print(_plain(f"Report: {run.folder.file('report', suffix='.html')}"))
    table = Table(title="Before and after tuning; 95 % Wilson intervals")
    rates = [_head(run, kind) for kind in (HARMFUL, BENIGN)]
    has_task = run.models[0].has_task
    of_task = ("task metric", "task loss") if has_task else ()
    for column in ("model", *rates, "broken, worst set", *of_task, *(() if run.is_check else ("vs plain tuning",))):
        table.add_column(_plain(column), justify="left" if column == "model" else "right")
    for model in run.models:
        table.add_row(
            _plain(model.title),
            percent(model.worst_rate(HARMFUL)),
            percent(model.worst_rate(BENIGN)),
            percent(model.worst_broken),
            *((percent(model.score), f"{model.loss:.4f}") if has_task else ()),
            *(() if run.is_check else (versus_plain(model),)),
        )
    console.print(table)
    for note in run.notes:
        console.print(_plain(f"Note: {note}"))


def _console() -> Console:
    console = Console()
    console.width = max(console.width, _WIDTH)
    return console


def _head(run: Run, kind: Kind) -> str:
    """What a column shows: of several sets, each model's worst."""
    sets = run.models[0].of_kind(kind)
    size = f"n={sets[0].rate.n}" if len(sets) == 1 else f"worst of {len(sets)} sets"
    return f"{sets[0].column} ({size})"


def print_caution(text: str) -> None:
    """Print something that a user must know before going on."""
    Console().print(_plain(f"Caution: {text}"))


def print_note(text: str) -> None:
    """Print something that is good to know."""
    Console().print(_plain(f"Note: {text}"))


def print_preflight(found: Preflight) -> None:
    """Print what was found before any work."""
    console = _console()
    table = Table(title="Before any work", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for line in preflight_lines(found):
        table.add_row(_plain(line.what), _plain(line.found))
    console.print(table)
    for fault in found.faults:
        console.print(_plain(f"Warning: {fault}"), style="red")
    for note in found.notes:
        console.print(_plain(f"Note: {note}"), style="yellow")
