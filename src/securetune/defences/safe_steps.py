"""Safe steps: after tuning, a few steps on rows with safe answers.

Plain realignment, of which `one_shot` is the published extreme. Number and rate of the steps are our choice.
"""

from pydantic import Field

from securetune.defences.base.interface import WEIGHTS, Defence, Settings
from securetune.defences.base.needs import EXTRA_PASSES, SAFETY_ROWS
from securetune.defences.base.run import TrainingRun
from securetune.defences.base.safety_steps import take_safety_steps


class Few(Settings):
    """Settings of the steps."""

    steps: int = Field(default=20, ge=1)
    """Steps on rows with safe answers, of as many rows as a step of the tuning."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Their rate."""


class SafeSteps(Defence):
    """Realignment after tuning."""

    title, paper = "safe steps", "ours"
    needs, decides = (SAFETY_ROWS, EXTRA_PASSES), (WEIGHTS,)
    cost = "none; a few steps after the last"
    Settings = Few

    def finalize(self, run: TrainingRun) -> None:
        """Tune on."""
        take_safety_steps(run, self.settings.steps, self.settings.learning_rate)


defence = SafeSteps
