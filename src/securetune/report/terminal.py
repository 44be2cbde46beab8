"""Terminal: the comparison as the last lines of a run."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from securetune.base.artifacts import Artifact, RunFolder
from securetune.report.tables import comparison, percent

_WIDTH = 132


def print_summary(path: Path) -> None:
    """Print ASR, over-refusal and task numbers of every model, with intervals."""
    folder = RunFolder(path)
    report = folder.read("report")
    assert report is not None, "the report stage has just run"
    found = {stage: _of_stage(folder, report, stage) for stage in ("evaluate", "train")}
    rows = comparison(found["evaluate"], found["train"])
    console = Console()
    console.width = max(console.width, _WIDTH)
    console.print(f"Report: {folder.file('report', suffix='.html')}")
    table = Table(title="Before and after tuning; 95 % Wilson intervals")
    asr, over = rows[0].headline("harmful"), rows[0].headline("benign")
    columns = ("model", f"ASR (n={asr['n']})", f"over-refusal (n={over['n']})", "task metric", "task loss", "vs IFT")
    for column in columns:
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        table.add_row(
            row.title,
            percent(row.headline("harmful")),
            percent(row.headline("benign")),
            percent(row.score),
            f"{row.loss:.4f}",
            row.versus_plain,
        )
    console.print(table)


def _of_stage(folder: RunFolder, report: Artifact, stage: str) -> list[Artifact]:
    """The artifacts of a stage that the report was made from, in its order."""
    names = [name for name in report.inputs if name.startswith(f"{stage}-")]
    found = [folder.read(stage, name.removeprefix(f"{stage}-")) for name in names]
    return [artifact for artifact in found if artifact is not None]
