"""Interface: what is a signal measured against, and what does it offer?

Shapes: n prompts, v vocabulary.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from securetune.models.features import Features
from securetune.models.openings import Openings
from securetune.scan.probe import LinearProbe


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The model before any change, on the prompts of the scan."""

    probe: LinearProbe
    openings: Openings
    labels: ndarray
    """1 malicious, 0 benign, one per prompt."""
    clean: Features
    """Of all prompts, in the order of `labels`."""

    @cached_property
    def malicious(self) -> Bool[Tensor, " n"]:
        """Which prompts are malicious; all others are benign."""
        return torch.from_numpy(self.labels == 1)

    @cached_property
    def benign_margins(self) -> Float[ndarray, " n"]:
        """Probe margins of the benign prompts."""
        return self.probe.score(self.clean.hidden.numpy()[self.labels == 0])


class Signal:
    """Base of all signals: one number of all prompts together, high when the model is safe.

    The scan methods race and gradient cannot use it; they need its kinds `PromptSignal` and `LogitSignal`.
    """

    is_even: ClassVar[bool] = False
    """Whether it falls whichever way a weight moves, as a distance from the clean model does. A change and its negative
    tell little more of it than one of them, so a scan that follows it spends its passes on other draws."""
    version: ClassVar[int] = 1
    """Counts up when the same features would give other numbers; stored scans are then made anew."""

    def measure(self, baseline: Baseline, now: Features) -> float:
        """The signal on (perturbed) features of the baseline's prompts."""
        raise NotImplementedError

    def range(self, baseline: Baseline, clean: float) -> float:
        """What losing all safety would cost, in the signal's unit; `clean` is its value on the baseline itself."""
        raise NotImplementedError


class PromptSignal(Signal):
    """A signal that is a mean over the malicious prompts: a race can stop reading prompts for it."""

    def measure(self, baseline: Baseline, now: Features) -> float:
        """The mean over the malicious prompts."""
        rows = baseline.malicious
        return float(self.per_prompt(baseline, now.of(rows), baseline.clean.of(rows)).mean())

    def per_prompt(self, baseline: Baseline, now: Features, clean: Features) -> Float[ndarray, " n"]:
        """The signal of some malicious prompts, whose features were `clean` and are `now`."""
        raise NotImplementedError


class LogitSignal(PromptSignal):
    """A differentiable function of each malicious prompt's logits: one backward pass can stand in for its drop.

    Its slope at the clean model must not be zero, as that of a distance from the clean model is.
    """

    def per_prompt(self, baseline: Baseline, now: Features, clean: Features) -> Float[ndarray, " n"]:
        """The signal of the logits now."""
        values: ndarray = self.of_logits(baseline, now.logits).numpy()
        return values

    def of_logits(self, baseline: Baseline, logits: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
        """The signal of each row, with gradients where `logits` have any."""
        raise NotImplementedError
