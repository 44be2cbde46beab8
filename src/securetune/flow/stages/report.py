"""Write the HTML report."""

from securetune.base.artifacts import Product
from securetune.config import dump_config
from securetune.flow.stages.base.stage import Inputs, Stage, Work
from securetune.report.allowed import budgets_digest
from securetune.report.files import write_report
from securetune.report.intact import config_digest
from securetune.report.reading import read_run
from securetune.report.sections import sections_digest


def depends(work: Work) -> Inputs:
    """What the stages before it have left, the configuration and the budgets that it shows, and the sections."""
    artifacts = {f"{a.stage}-{a.variant}" if a.variant else a.stage: a.digest for a in work.made.all}
    return {
        **artifacts,
        "config": config_digest(dump_config(work.session.config)),
        "budgets": budgets_digest(work.session.folder),
        "sections": sections_digest(),
    }


def compute(work: Work) -> Product:
    """The page, the tables and every figure, from the artifacts alone."""
    folder = work.session.folder
    files = write_report(read_run(folder, arms=work.session.arms))
    return Product(data={"html": files[0].name}, files=files)


stage = Stage(version=11, depends=depends, compute=compute)
