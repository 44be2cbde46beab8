"""Tune with every defence, at matched task loss."""

from dataclasses import replace

from securetune.base.artifacts import Product, digest
from securetune.base.fingerprint import fingerprint
from securetune.base.typed import to_json
from securetune.defences.base.arm import PLAIN, Arm
from securetune.flow.session import Session
from securetune.flow.stages.base.stage import Inputs, Stage, Work
from securetune.measures.loss_target import LossTarget
from securetune.train.config import UNCOUNTED, TrainConfig
from securetune.train.result import TrainedArm
from securetune.train.sft import Tuning, fine_tune


def depends(work: Work) -> Inputs:
    """The model, the rows, the plan, the defences and what they may use, and the loss to reach."""
    session, made, arm = work.session, work.made, work.arm
    inputs = {
        "model": session.model_fingerprint,
        "data": session.task_fingerprint,
        "train": fingerprint(_settings(work), without=UNCOUNTED),
        "plan": made.digest("plan", arm) if made.has("plan", arm) else "none",
        "defences": session.combination(arm).fingerprint(),
        "target": fingerprint(_target(work)),
        "seed": str(session.config.seed),
    }
    if arm != PLAIN:
        inputs |= {"resources": fingerprint(session.resources), "openings": fingerprint(made.openings)}
    return inputs


def compute(work: Work) -> Product:
    """Train; the adapter or the whole model is a folder beside the result."""
    session, made, arm = work.session, work.made, Arm.parse(work.arm or PLAIN)
    rows, held_out = session.examples
    output = session.folder.file("train", work.arm, "")
    result = fine_tune(
        session.model_to_tune(),
        session.tokenizer,
        Tuning(
            rows=rows,
            held_out=held_out,
            target=_target(work),
            seed=session.config.seed,
            plan=made.plan(str(arm)),
            defences=session.combination(work.arm),
            resources=replace(session.resources, openings=made.openings),
            monitor_every=session.config.monitor_every,
        ),
        _settings(work),
        output=output,
        run_key=digest(dict(work.inputs)),
    )
    trained = TrainedArm(**vars(replace(result, cost={})), title=arm.title, is_defence=arm.is_defence)
    data = to_json(trained)
    del data["cost"]
    return Product(data=data, files=[output], cost=result.cost)


def _settings(work: Work) -> TrainConfig:
    """How this arm is trained."""
    config = work.session.config.train
    return config.model_copy(update={"learning_rate": config.learning_rate * Arm.parse(work.arm or PLAIN).rate})


def _target(work: Work) -> LossTarget | None:
    """The loss at which all but plain tuning stop."""
    if work.arm == PLAIN or not work.session.config.train.match_task_loss:
        return None
    plain = work.made.trained(PLAIN)
    return LossTarget(start=plain.start_loss, plain=plain.task_loss)


def arms(session: Session) -> list[str]:
    """Every arm, plain tuning first."""
    return session.arms


stage = Stage(version=7, depends=depends, compute=compute, arms=arms)
