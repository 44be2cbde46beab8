"""Result: what a training run did; no torch."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What one training run did."""

    steps: int
    task_loss: float
    """Mean cross-entropy per answer token on the held-out rows, in nats."""
    start_loss: float
    """The same before tuning."""
    trainable: int
    """Number of trainable parameters."""
    log: list[dict[str, Any]] = field(default_factory=list)
    """The trainer's log: losses and every group's rate."""
    cost: dict[str, float | None] = field(default_factory=dict)
    """Mean ``step_seconds``, and ``memory``: the GPU's peak in bytes, None without one."""


@dataclass(frozen=True, kw_only=True)
class TrainedArm(TrainResult):
    """The same with whose run it was, as the stage `train` leaves it."""

    title: str
    """What the arm is called in tables."""
    is_defence: bool
    """Whether it is meant to protect; plain tuning and baselines only serve the comparison."""
