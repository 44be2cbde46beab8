"""Files: of what does a report consist on disk? The page, the tables, and every figure as a drawing and a picture."""

from pathlib import Path

from securetune.base.artifacts import write_atomic
from securetune.report.figures import png, svg
from securetune.report.reading import Run
from securetune.report.render import render_report, report_figures
from securetune.report.tables import render_tables


def write_report(run: Run) -> list[Path]:
    """Write the report of a finished run into its folder; returns its files and folders, the page first."""
    folder, figures = run.folder, report_figures(run)
    texts = {".html": render_report(run, figures), **render_tables(run)}
    files = {folder.file("report", suffix=suffix): text for suffix, text in texts.items()}
    for path, text in files.items():
        write_atomic(path, text)
    pictures = folder.file("report", suffix="-figures")
    pictures.mkdir(exist_ok=True)
    for name, figure in figures.items():
        (pictures / f"{name}.svg").write_text(svg(figure), encoding="utf-8")
        (pictures / f"{name}.png").write_bytes(png(figure))
    return [*files, pictures]
