"""Lisa: tune on the task and on safety rows in turns, and never move far from where the last turn ended.

Source: Huang et al., NeurIPS 2024 (arXiv 2405.18641): the proximal term rho / 2 |w - w_switch|^2, none in the first
tenth of the run.
"""

from typing import Any

from pydantic import Field
from torch import Tensor

from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.interface import BATCHES, Defence, Settings
from securetune.defences.base.needs import SAFETY_ROWS
from securetune.defences.base.run import TrainingRun
from securetune.models.tensors import copies, whole


class Turns(Settings):
    """Settings of Lisa."""

    safety_steps: int = Field(default=100, ge=1)
    """Steps of a turn on the safety rows."""
    task_steps: int = Field(default=900, ge=1)
    """Steps of a turn on the task."""
    rho: float = Field(default=1.0, ge=0)
    """Strength of the pull."""
    free_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps without the pull."""


class Lisa(Defence):
    """Alternating tuning with a proximal pull."""

    title, paper = "Lisa", "arXiv 2405.18641"
    needs, decides = (SAFETY_ROWS,), (BATCHES,)
    cost = "a copy of the trainable weights; some steps go to safety rows"
    Settings = Turns

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.anchor: dict[str, Tensor] = {}

    def begin(self, run: TrainingRun) -> None:
        """The first turn starts here."""
        self._switch(run)

    def edit_batch(self, run: TrainingRun, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Safety rows in their turn."""
        return run.safety_batch() if self._on_safety(run.step) else inputs

    def loss(self, batch: TokenBatch) -> Tensor | None:
        """The pull."""
        run, settings = batch.run, self.settings
        if run.step < settings.free_fraction * run.total_steps:
            return None
        distances = [(p - self.anchor[name]).square().sum() for name, p in run.trainable().items()]
        return settings.rho / 2 * whole(sum(distances[1:], distances[0]))

    def step(self, run: TrainingRun) -> None:
        """Mark where a turn ends."""
        if self._on_safety(run.step) != self._on_safety(run.step - 1):
            self._switch(run)

    def state(self) -> dict[str, Any]:
        """Where the last turn ended."""
        return {"anchor": self.anchor}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.anchor = state["anchor"]

    def _on_safety(self, step: int) -> bool:
        settings = self.settings
        return bool(step % (settings.safety_steps + settings.task_steps) < settings.safety_steps)

    def _switch(self, run: TrainingRun) -> None:
        self.anchor = copies(run.trainable())


defence = Lisa
