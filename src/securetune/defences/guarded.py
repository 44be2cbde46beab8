"""Guarded tuning (ours): watch the refusal margin while tuning, and slow down where it falls.

Every few steps the refusal margin on malicious prompts is measured (prefill only). Its loss, as a share of the distance
between malicious and benign prompts before tuning, may not exceed a budget: past half of it the sensitive modules'
steps are halved, below that they grow back; past all of it the last good weights come back and the sensitive modules
stop; the run ends when nothing else is left to train, or that was not enough. "Sensitive" is what a plan in force
keeps back (ML-LR's rest), or everything.

A step is scaled by scaling the change that the optimizer has made, so it works for any optimizer and over any plan; for
AdamW it is the same as scaling the rate.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from securetune.defences.interface import EXTRA_PASSES, Defence, Settings
from securetune.defences.training import TrainingRun


class Guard(Settings):
    """Settings of guarded tuning."""

    every: int = Field(default=25, ge=1)
    """Steps between measurements."""
    prompts: int = Field(default=64, ge=1)
    """Malicious prompts that are read."""
    budget: float = Field(default=0.25, gt=0)
    """Largest loss of the refusal margin, as a share of its range."""


class Guarded(Defence):
    """A closed loop around the learning rate."""

    title, paper = "guarded", "ours"
    needs = (EXTRA_PASSES,)
    cost = "a prefill of the watched prompts every few steps; a copy of the trainable weights"
    Settings = Guard

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.scale = 1.0
        self.good: dict[str, Tensor] = {}
        self.margins: list[tuple[int, float]] = []
        self._start = self._range = 0.0
        self._before: dict[str, Tensor] = {}

    def begin(self, run: TrainingRun) -> None:
        """Measure the model before tuning."""
        resources, count = run.resources, self.settings.prompts
        with run.reference() as model:
            self._start = run.refusal_margin(resources.malicious[:count], model)
            self._range = self._start - run.refusal_margin(resources.benign[:count], model)
        self.good = _copy(run.trainable())

    def gradients(self, run: TrainingRun) -> None:
        """Remember the weights that this step may only change a little."""
        self._before = _copy(run.sensitive()) if self.scale < 1 else {}

    @torch.no_grad()
    def step(self, run: TrainingRun) -> None:
        """Scale the step; every few steps, measure and decide."""
        trainable = run.trainable()
        for name, before in self._before.items():
            trainable[name].copy_(before + self.scale * (trainable[name] - before))
        if run.step % self.settings.every == 0:
            self._decide(run)

    def _decide(self, run: TrainingRun) -> None:
        margin = run.refusal_margin(run.resources.malicious[: self.settings.prompts], run.model)
        self.margins.append((run.step, margin))
        spent = (self._start - margin) / self._range / self.settings.budget
        if spent > 1:
            run.is_over = self.scale == 0 or len(run.sensitive()) == len(run.trainable())
            self.scale = 0.0
            for name, parameter in run.trainable().items():
                parameter.copy_(self.good[name])
            return
        self.good = _copy(run.trainable())
        if self.scale > 0:
            self.scale = self.scale / 2 if spent > 0.5 else min(1.0, 2 * self.scale)

    def finalize(self, run: TrainingRun) -> None:
        """Leave no weights that were never measured."""
        if run.step % self.settings.every:
            with torch.no_grad():
                self._decide(run)

    def state(self) -> dict[str, Any]:
        """Scale, last good weights and what was measured."""
        return {"scale": self.scale, "good": self.good, "margins": self.margins}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.scale, self.good, self.margins = state["scale"], state["good"], state["margins"]


def _copy(parameters: dict[str, torch.nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


defence = Guarded
