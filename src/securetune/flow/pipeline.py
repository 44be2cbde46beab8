"""Pipeline: the whole flow, one stage after the other.

Each stage reads what the stages before it have left, leaves its own artifact in the run folder, and is skipped while
nothing it depends on has changed.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from securetune.base.artifacts import ANALYSIS, STAGES, Artifact, RunFolder
from securetune.config import RunConfig, dump_config
from securetune.errors import ConfigError
from securetune.flow.made import Made
from securetune.flow.session import Session
from securetune.flow.stages import STAGE_FILES
from securetune.flow.stages.base.stage import Stage, Work
from securetune.models.libraries import processes
from securetune.perturb import PERTURBATIONS


def run(config: RunConfig, *, until: str = "report", announce: Callable[[Artifact, bool], None] | None = None) -> Path:
    """Do every stage up to and including `until`; returns the run folder.

    Args:
        config: what to run.
        until: last stage, one of `STAGES`.
        announce: called with each artifact when it is there, and whether it was stored already.
    """
    assert until in STAGES, until
    peers = processes()
    is_shared, is_main = peers.num_processes > 1, peers.is_main_process
    if is_shared:
        _check_shared(config, until)
    with RunFolder(config.output, announce if is_main else None, locks=is_main) as folder:
        session = Session(config, folder)
        with peers.main_process_first():  # it pins the benchmarks
            session.check()
        if is_main:
            folder.configure(dump_config(config))
        advance(session, until)
    return folder.path


def advance(session: Session, until: str) -> Made:
    """Do what is not done yet of every stage up to and including `until`; returns what all of them have left."""
    peers, made = processes(), Made()
    for name in _stages(session, until):
        stage = STAGE_FILES.get(name)
        for arm in stage.arms(session):
            if peers.num_processes > 1 and stage.share is not None:
                _share(name, stage, Work(session=session, made=made, arm=arm))
            with peers.main_process_first():  # the others find the artifact and compute nothing
                _make(name, stage, Work(session=session, made=made, arm=arm))
    return made


def _stages(session: Session, until: str) -> list[str]:
    """Every stage up to and including `until`, without the analysis where no arm reads it."""
    names = STAGES[: STAGES.index(until) + 1]
    if until in ANALYSIS or wants_scan(session):
        return list(names)
    return [name for name in names if name not in ANALYSIS]


def wants_scan(session: Session) -> bool:
    """Whether probe, scan and search are part of the whole flow: they may wait for an arm that reads them."""
    return session.config.scan.when == "always" or any(session.combination(arm).reads_scan for arm in session.arms)


def _make(name: str, stage: Stage, work: Work) -> None:
    """Add one artifact, fresh or stored, to what is made; nothing where this arm has none."""
    inputs = stage.depends(work)
    if inputs is None:
        return
    artifact = work.session.folder.produce(
        name,
        inputs,
        lambda: stage.compute(replace(work, inputs=inputs)),
        version=stage.version,
        variant=work.arm,
        seed=stage.seed(work.session),
    )
    work.made.add(artifact)


def _share(name: str, stage: Stage, work: Work) -> None:
    """Do this process's share of an artifact that is not there yet, and wait for the others."""
    peers, folder = processes(), work.session.folder
    inputs = stage.depends(work) or {}
    if not folder.is_current(folder.read(name, work.arm), inputs, stage.version):
        assert stage.share is not None
        stage.share(replace(work, inputs=inputs), peers.process_index, peers.num_processes)
    peers.wait_for_everyone()


def _check_shared(config: RunConfig, until: str) -> None:
    """Several processes share the scan; they cannot share what comes after it, or a tuning run before it."""
    if STAGES.index(until) > STAGES.index("scan"):
        raise ConfigError(
            f"Expected one process for the stage {until}, found {processes().num_processes}. Launch `securetune "
            "scan` with several processes, which shares the scan out, and then this one without."
        )
    if PERTURBATIONS.get(config.scan.perturbation).needs_tuning:
        raise ConfigError(
            f"Expected one process for the perturbation {config.scan.perturbation}, which tunes first, found "
            f"{processes().num_processes}. Launch `securetune scan` without accelerate."
        )
