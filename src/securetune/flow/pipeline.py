"""Pipeline: the whole flow, one verb after the other.

Each stage reads the artifacts before it, leaves its own in the run folder, and is skipped while nothing it depends on
has changed.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from securetune.base.artifacts import STAGES, Artifact, RunFolder, write_atomic
from securetune.config import RunConfig, dump_config
from securetune.defences.base.arm import PLAIN
from securetune.errors import ConfigError
from securetune.flow import stages
from securetune.flow.session import Session
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
            write_atomic(folder.path / "config.yaml", dump_config(config))
        steps = flow(session)
        for stage in STAGES[: STAGES.index(until) + 1]:
            if stage == "scan" and is_shared:
                stages.share_scan(session, peers.process_index, peers.num_processes)
                peers.wait_for_everyone()
            with peers.main_process_first():  # the others find the artifact and compute nothing
                next(steps)
    return folder.path


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


def flow(session: Session) -> Iterator[None]:
    """The stages in the order of `STAGES`, one per step."""
    topology = stages.topology(session)
    yield
    features = stages.features(session, topology)
    yield
    probe = stages.probe(session, features)
    yield
    scan = stages.scan(session, topology, features, probe)
    yield
    search = stages.search(session, topology, features, probe, scan)
    yield
    plans = {arm: stages.plan(session, arm, topology, features, scan, search) for arm in session.arms}
    yield
    plain = stages.train(session, PLAIN, features, None, None)
    trained = {PLAIN: plain}
    trained |= {arm: stages.train(session, arm, features, plans[arm], plain) for arm in session.arms[1:]}
    yield
    base = stages.evaluate(session, "base", features, None, None)
    evaluated = [base, *(stages.evaluate(session, arm, features, trained[arm], base) for arm in session.arms)]
    yield
    made_plans = [plan for plan in plans.values() if plan is not None]
    stages.report(session, [topology, features, probe, scan, search, *made_plans, *trained.values(), *evaluated])
    yield
