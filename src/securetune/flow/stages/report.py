"""Write the HTML report."""

from securetune.base.artifacts import Product, write_atomic
from securetune.flow.stages.base.stage import Inputs, Stage, Work
from securetune.report import figures as figures_of
from securetune.report.render import render_report, render_tables, report_figures


def depends(work: Work) -> Inputs:
    """All that the stages before it have left."""
    return {f"{a.stage}-{a.variant}" if a.variant else a.stage: a.digest for a in work.made.all}


def compute(work: Work) -> Product:
    """The page, the tables and every figure, from the artifacts alone."""
    folder, made = work.session.folder, work.made.all
    figures = report_figures(made)
    texts = {".html": render_report(folder, made, figures), **render_tables(made)}
    files = {folder.file("report", suffix=suffix): text for suffix, text in texts.items()}
    for path, text in files.items():
        write_atomic(path, text)
    drawn = folder.file("report", suffix="-figures")
    drawn.mkdir(exist_ok=True)
    for name, figure in figures.items():
        (drawn / f"{name}.svg").write_text(figures_of.svg(figure), encoding="utf-8")
        (drawn / f"{name}.png").write_bytes(figures_of.png(figure))
    return Product(data={"html": folder.file("report", suffix=".html").name}, files=[*files, drawn])


stage = Stage(version=9, depends=depends, compute=compute)
