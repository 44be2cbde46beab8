"""EMA: the tuned model is the running mean of the weights on the way; no safety data.

Source: arXiv 2508.12531 (COLM 2025). The decay is our choice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import Field
from torch import Tensor

from securetune.defences.base.interface import Defence, Settings
from securetune.defences.base.run import TrainingRun
from securetune.models.tensors import copies, load_copies, put_back


class Average(Settings):
    """Settings of EMA."""

    decay: float = Field(default=0.98, gt=0, lt=1)
    """Share of the old mean that every step keeps."""


class Ema(Defence):
    """Exponential moving average of the weights."""

    title, paper = "EMA", "arXiv 2508.12531"
    cost = "a copy of the trainable weights"
    Settings = Average

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.mean: dict[str, Tensor] = {}

    def begin(self, run: TrainingRun) -> None:
        """Start at the weights before tuning."""
        self.mean = copies(run.trainable())

    def step(self, run: TrainingRun) -> None:
        """Move the mean towards the weights."""
        for name, parameter in run.trainable().items():
            self.mean[name].lerp_(parameter.detach(), 1 - self.settings.decay)

    @contextmanager
    def evaluated(self, run: TrainingRun) -> Iterator[None]:
        """Measure the mean, not the weights on the way."""
        with put_back(run.trainable()):
            self.finalize(run)
            yield

    def finalize(self, run: TrainingRun) -> None:
        """Put the mean in place of the weights."""
        load_copies(run.trainable(), self.mean)

    def state(self) -> dict[str, Any]:
        """The mean."""
        return {"mean": self.mean}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a mean."""
        self.mean = state["mean"]


defence = Ema
