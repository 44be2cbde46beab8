"""Lower rate: plain tuning with a smaller learning rate everywhere; a baseline without any safety data.

Source: arXiv 2508.12531 finds that the rate, batch and number of steps alone explain much of the harm. The factor is
ours.
"""

from pydantic import Field

from securetune.defences.base.interface import RATES, Defence, PlanInputs, Settings
from securetune.plans.plan import Plan, rest


class LowerRate(Settings):
    """Settings of the lower rate."""

    lr_mult: float = Field(default=0.2, gt=0)
    """Factor on the learning rate."""


class LowerLr(Defence):
    """Plain tuning with a lower rate."""

    title, paper, is_defence = "lower rate", "arXiv 2508.12531 (baseline)", False
    decides = (RATES,)
    Settings = LowerRate

    def edit_plan(self, inputs: PlanInputs) -> Plan:
        """One factor for everything."""
        return Plan(
            method="lower_lr",
            model=inputs.model,
            entries=(rest(self.settings.lr_mult),),
            seed=inputs.seed,
            versions=inputs.versions,
        )


defence = LowerLr
