"""One shot: after tuning, a few epochs on a single safe answer.

Source: Zhang et al., ICLR 2026 (arXiv 2601.01887): one row is enough, as safety's gradient has few directions. The
paper selects the row; here it is the first of the rows with safe answers. The rate is our choice.
"""

from pydantic import Field

from securetune.defences.base.run import TrainingRun
from securetune.defences.base.safety_steps import take_safety_steps
from securetune.defences.safe_steps import Few, SafeSteps


class Patch(Few):
    """Settings of the patch."""

    steps: int = Field(default=10, ge=1)
    """Epochs on the row, a step each."""


class OneShot(SafeSteps):
    """Realignment by a single row."""

    title, paper = "one-shot patch", "arXiv 2601.01887"
    Settings = Patch

    def finalize(self, run: TrainingRun) -> None:
        """Tune on."""
        row = run.batch(run.resources.safety_rows[:1])
        take_safety_steps(run, self.settings.steps, self.settings.learning_rate, lambda: row)


defence = OneShot
