"""Terminal: what was found before any work, and the comparison as the last lines of a run."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from securetune.evaluate.preflight import Preflight
from securetune.measures.kinds import BENIGN, HARMFUL
from securetune.report.preflight import preflight_lines
from securetune.report.reading import Run
from securetune.report.tables import percent, versus_plain

_WIDTH = 132


def print_summary(run: Run) -> None:
    """Print ASR, over-refusal and task numbers of every model, with intervals."""
    console = Console()
    console.width = max(console.width, _WIDTH)
    console.print(f"Report: {run.folder.file('report', suffix='.html')}")
    table = Table(title="Before and after tuning; 95 % Wilson intervals")
    rates = [f"{kind.column} (n={run.models[0].headline(kind).n})" for kind in (HARMFUL, BENIGN)]
    for column in ("model", *rates, "task metric", "task loss", "vs IFT"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for model in run.models:
        table.add_row(
            model.title,
            percent(model.headline(HARMFUL)),
            percent(model.headline(BENIGN)),
            percent(model.score),
            f"{model.loss:.4f}",
            versus_plain(model),
        )
    console.print(table)


def print_preflight(found: Preflight) -> None:
    """Print what was found before any work."""
    console = Console()
    console.width = max(console.width, _WIDTH)
    table = Table(title="Before any work", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for line in preflight_lines(found):
        table.add_row(Text(line.what), Text(line.found))
    console.print(table)
    for fault in found.faults:
        console.print(f"Warning: {fault}", style="red", markup=False)
    for note in found.notes:
        console.print(f"Note: {note}", style="yellow", markup=False)
