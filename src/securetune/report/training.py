"""Training: how was a model tuned, and where does an artifact come from?"""

from dataclasses import dataclass

from securetune.base.artifacts import Artifact
from securetune.train.result import TrainedArm


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where an artifact comes from."""

    stage: str
    variant: str | None
    created: str
    seconds: float
    seed: int
    digest: str
    """Hash of the result."""
    versions: dict[str, str]
    """Of Python and of the packages."""

    @classmethod
    def of(cls, artifact: Artifact) -> "Provenance":
        """An artifact without its result."""
        return cls(
            stage=artifact.stage,
            variant=artifact.variant,
            created=artifact.created,
            seconds=artifact.seconds,
            seed=artifact.seed,
            digest=artifact.digest,
            versions=artifact.versions,
        )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What training took."""

    step_seconds: float
    """Mean time of an optimizer step."""
    memory: int | None
    """Peak memory on the GPU, in bytes; None without one."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model was tuned."""

    result: TrainedArm
    cost: Cost | None
    """None where it was not measured."""
    provenance: Provenance
