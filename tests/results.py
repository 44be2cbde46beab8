"""Results as a run leaves them, made by hand."""

import json
from dataclasses import asdict, replace

from securetune.base.artifacts import Artifact, Product, RunFolder, digest, sealed, write_atomic
from securetune.base.typed import to_json
from securetune.defences.base.arm import BASE
from securetune.evaluate.result import EvalResult, Evaluation, JudgedAnswer, TaskResult
from securetune.measures.kinds import BENIGN, HARMFUL, SKILL, Kind
from securetune.measures.loss_target import LossTarget
from securetune.measures.statistics import Estimate, proportion
from securetune.report.reading import Model, Provenance, Training
from securetune.train.result import TrainedArm

JUDGE = "refusal_phrases"


def exactly(value: float, n: int = 100) -> Estimate:
    return Estimate(value=value, n=n, low=value, high=value)


def eval_result(kind: Kind, rate: Estimate, name: str | None = None, answers: list[JudgedAnswer] | None = None):
    sure = exactly(1.0, rate.n)
    return EvalResult(
        benchmark=name or kind.name,
        kind=kind,
        origin="a test",
        rates={"final_number" if kind == SKILL else JUDGE: rate},
        against_base={},
        margin=exactly(0.0),
        coherent=sure,
        broken=exactly(0.0),
        clustered=rate,
        detectable=0.1,
        agreement={},
        answers=answers or [],
    )


def answered(kind: Kind, hits: int, n: int, name: str | None = None):
    """A benchmark of which the first `hits` answers are counted."""
    answers = [
        JudgedAnswer(
            prompt=f"{kind} {i}",
            text="an answer",
            margin=0.0,
            surprise=None,
            coherent=True,
            refused={JUDGE: i < hits if kind == BENIGN else i >= hits},
            scores={JUDGE: None},
            right=i < hits if kind == SKILL else None,
        )
        for i in range(n)
    ]
    return eval_result(kind, proportion([i < hits for i in range(n)]), name, answers)


def evaluation(benchmarks, loss=1.0, score=None):
    return Evaluation(
        benchmarks=benchmarks,
        surprise_limit=5.0,
        system=None,
        task=TaskResult(loss=loss, metric=None if score is None else "exact_match", score=score),
    )


def trained(arm, is_defence, loss=1.0):
    return TrainedArm(steps=1, task_loss=loss, start_loss=2.0, trainable=1, title=arm, is_defence=is_defence)


def model(arm, asr, *, loss=1.0, is_defence=False, target=None):
    """A model with one harmful and one benign set at the same rate."""
    sets = [eval_result(HARMFUL, exactly(asr), "h"), eval_result(BENIGN, exactly(asr), "b")]
    made = Provenance(stage="train", variant=arm, created="", seconds=0.0, seed=0, digest="", versions={})
    return Model(
        arm=arm,
        training=None if arm == BASE else Training(result=trained(arm, is_defence, loss), cost=None, provenance=made),
        evaluation=evaluation(sets, loss),
        target=target or LossTarget(start=2.0, plain=1.0),
    )


def store(path, arm, sets, loss, *, is_defence=False, cost=None):
    """Leave an arm's evaluation with its answers, and its training, in a run folder."""
    folder = RunFolder(path)
    companion = folder.file("evaluate", arm, ".answers.json")
    whole = to_json(evaluation(sets, loss))
    summary = to_json(evaluation([replace(one, answers=[]) for one in sets], loss))

    def evaluate():
        write_atomic(companion, json.dumps(whole))
        return Product(data=summary, files=[companion])

    def train():
        return Product(data=to_json(trained(arm, is_defence, loss)), cost=cost or {})

    folder.produce("evaluate", {"sets": digest(whole)}, evaluate, variant=arm)
    if arm != BASE:
        folder.produce("train", {"cost": digest(cost)}, train, variant=arm)


def rewrite(path, change):
    """Change an artifact as another version would have written it: with a seal that fits."""
    stored = json.loads(path.read_text())
    change(stored)
    artifact = sealed(Artifact(**stored))
    path.write_text(json.dumps(asdict(artifact)))
    RunFolder(path.parent).ledger.note(path.name, artifact.seal)
