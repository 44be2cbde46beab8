"""Guarded tuning (ours): watch refusals while tuning, and slow down where they are lost.

Every few steps the refusal margin is measured on malicious prompts (prefill only). The share of those that the model
refused before tuning (margin above 0) and does not refuse now may not exceed a budget. Past half of it the sensitive
modules' steps are halved, below that they grow back. Past all of it the last good weights come back, and the steps
never again grow beyond half of those that led there; when that is next to nothing the sensitive modules stop, and the
run ends where nothing else is left to train, or that was not enough. "Sensitive" is what a plan in force keeps back
(ML-LR's rest), or everything. What goes wrong after the first token is not seen.

A step is scaled by scaling the change that the optimizer has made, so it works for any optimizer and over any plan; for
AdamW it is the same as scaling the rate.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from securetune.defences.base.interface import Defence, Settings
from securetune.defences.base.needs import EXTRA_PASSES, PROMPTS
from securetune.defences.base.run import TrainingRun
from securetune.errors import ConfigError
from securetune.models.tensors import copies, load_copies

_STATE = ("scale", "limit", "good", "watched", "lost")
_SMALLEST = 1 / 64
"""Steps scaled by less than this stand still."""


class Guard(Settings):
    """Settings of guarded tuning."""

    every: int = Field(default=25, ge=1)
    """Steps between measurements."""
    prompts: int = Field(default=64, ge=1)
    """Malicious prompts that are read."""
    budget: float = Field(default=0.05, gt=0, le=1)
    """Largest share of the watched prompts that may no longer be refused."""


class Guarded(Defence):
    """A closed loop around the learning rate."""

    title, paper = "guarded", "ours"
    needs = (PROMPTS, EXTRA_PASSES)
    cost = "a prefill of the watched prompts every few steps; a copy of the trainable weights"
    Settings = Guard

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.scale = self.limit = 1.0
        self.good: dict[str, Tensor] = {}
        self.watched: list[str] = []
        self.lost: list[tuple[int, float]] = []
        self._before: dict[str, Tensor] = {}

    def begin(self, run: TrainingRun) -> None:
        """Choose what to watch: prompts that the model refuses before tuning."""
        if run.step:
            return
        prompts = list(run.resources.malicious[: self.settings.prompts])
        margins = run.refusal_margins(prompts, run.model).tolist()
        self.watched = [prompt for prompt, margin in zip(prompts, margins, strict=True) if margin > 0]
        if not self.watched:
            raise ConfigError(
                f"Expected guarded tuning to start from a model that refuses, found none of {len(prompts)} malicious "
                "prompts refused. Check analysis.malicious, or leave `guarded` out."
            )
        self.good = copies(run.trainable())

    def gradients(self, run: TrainingRun) -> None:
        """Remember the weights that this step may only change a little."""
        self._before = copies(run.sensitive()) if self.scale < 1 else {}

    @torch.no_grad()
    def step(self, run: TrainingRun) -> None:
        """Scale the step; every few steps, measure and decide."""
        trainable = run.trainable()
        for name, before in self._before.items():
            trainable[name].copy_(before + self.scale * (trainable[name] - before))
        if run.step % self.settings.every == 0:
            self._decide(run)

    def _decide(self, run: TrainingRun) -> None:
        lost = float((run.refusal_margins(self.watched, run.model) <= 0).float().mean())
        self.lost.append((run.step, lost))
        spent = lost / self.settings.budget
        if spent > 1:
            load_copies(run.trainable(), self.good)
            stood = self.scale == 0
            self.scale = self.limit = self.scale / 2 if self.scale > _SMALLEST else 0.0
            run.is_over = stood or (self.scale == 0 and len(run.sensitive()) == len(run.trainable()))
            return
        self.good = copies(run.trainable())
        if self.scale > 0:
            self.scale = max(self.scale / 2, _SMALLEST) if spent > 0.5 else min(self.limit, 2 * self.scale)

    def finalize(self, run: TrainingRun) -> None:
        """Leave no weights that were never measured."""
        if run.step % self.settings.every:
            with torch.no_grad():
                self._decide(run)

    def state(self) -> dict[str, Any]:
        """Scale and its limit, last good weights, what is watched and what was found."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for name in _STATE:
            setattr(self, name, state[name])


defence = Guarded
