"""Write the HTML report."""

from securetune.base.artifacts import Product, write_atomic
from securetune.config import dump_config
from securetune.flow.stages.base.stage import Inputs, Stage, Work
from securetune.report.figures import png, svg
from securetune.report.intact import config_digest
from securetune.report.reading import read_run
from securetune.report.render import render_report, report_figures
from securetune.report.sections import sections_digest
from securetune.report.tables import render_tables


def depends(work: Work) -> Inputs:
    """All that the stages before it have left, the configuration that it shows, and what the sections make of it."""
    artifacts = {f"{a.stage}-{a.variant}" if a.variant else a.stage: a.digest for a in work.made.all}
    return {**artifacts, "config": config_digest(dump_config(work.session.config)), "sections": sections_digest()}


def compute(work: Work) -> Product:
    """The page, the tables and every figure, from the artifacts alone."""
    folder = work.session.folder
    run = read_run(folder, arms=work.session.arms)
    figures = report_figures(run)
    texts = {".html": render_report(run, figures), **render_tables(run)}
    files = {folder.file("report", suffix=suffix): text for suffix, text in texts.items()}
    for path, text in files.items():
        write_atomic(path, text)
    pictures = folder.file("report", suffix="-figures")
    pictures.mkdir(exist_ok=True)
    for name, figure in figures.items():
        (pictures / f"{name}.svg").write_text(svg(figure), encoding="utf-8")
        (pictures / f"{name}.png").write_bytes(png(figure))
    return Product(data={"html": folder.file("report", suffix=".html").name}, files=[*files, pictures])


stage = Stage(version=10, depends=depends, compute=compute)
