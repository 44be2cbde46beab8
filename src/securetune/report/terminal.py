"""Terminal: the comparison as the last lines of a run."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from securetune.base.terminal import for_terminal
from securetune.measures.kinds import BENIGN, HARMFUL
from securetune.report.reading import Run
from securetune.report.tables import percent, versus_plain

_WIDTH = 132


def _plain(text: str) -> Text:
    """The text as it is: to rich, what stands in square brackets is markup."""
    return Text(for_terminal(text))


def print_summary(run: Run) -> None:
    """Print ASR, over-refusal and task numbers of every model, with intervals."""
    console = Console()
    console.width = max(console.width, _WIDTH)
    console.print(_plain(f"Report: {run.folder.file('report', suffix='.html')}"))
    table = Table(title="Before and after tuning; 95 % Wilson intervals")
    rates = [f"{kind.column} (n={run.models[0].headline(kind).n})" for kind in (HARMFUL, BENIGN)]
    for column in ("model", *rates, "task metric", "task loss", "vs IFT"):
        table.add_column(_plain(column), justify="left" if column == "model" else "right")
    for model in run.models:
        table.add_row(
            _plain(model.title),
            percent(model.headline(HARMFUL)),
            percent(model.headline(BENIGN)),
            percent(model.score),
            f"{model.loss:.4f}",
            versus_plain(model),
        )
    console.print(table)
