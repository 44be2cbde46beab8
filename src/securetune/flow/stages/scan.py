"""Perturb every module alone and measure what safety loses."""

from securetune.base.artifacts import Artifact, Product
from securetune.flow.scanning import run_scanner, scan_inputs
from securetune.flow.session import Session
from securetune.flow.stages.base.stage import Inputs, Stage, Work
from securetune.models.libraries import processes
from securetune.report.terminal import print_note


def depends(work: Work) -> Inputs:
    """Everything that the scanner reads."""
    return scan_inputs(work.session, work.made)


def compute(work: Work) -> Product:
    """The drop of every signal for every module."""
    journal = work.session.journal("scan", work.inputs)
    return Product(data=run_scanner(work.session, work.made).scan(journal).to_dict())


def share(work: Work, process: int, count: int) -> None:
    """Measure the share of one of `count` processes; `compute` then finds everything in the journals."""
    scanner = run_scanner(work.session, work.made)
    with processes().main_process_first():
        journal = work.session.journal("scan", work.inputs, process)
        scanner.strength(journal)
    scanner.share(journal, process=process, processes=count)


def seed(session: Session) -> int:
    """The scan may have a seed of its own."""
    return session.scan_config.seed or 0


def show(artifact: Artifact) -> None:
    """Why it was done in this way, where that was left open."""
    if why := artifact.data.get("why"):
        print_note(why)


stage = Stage(version=7, depends=depends, compute=compute, seed=seed, share=share, show=show)
