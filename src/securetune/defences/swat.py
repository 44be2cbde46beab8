"""SWAT: only the robust set learns for a first share of the steps, then everything does.

Source: Du et al. 2025, arXiv 2410.04524 v2 (ACL 2026). The share is not public; the default is ours.
"""

from pydantic import Field

from securetune.defences.base.interface import RATES, Defence, PlanInputs, Settings, lr_plan
from securetune.defences.base.needs import SCAN
from securetune.plans.plan import Phase, Plan, rest


class WarmUp(Settings):
    """Settings of SWAT."""

    warmup_fraction: float = Field(default=0.5, gt=0, lt=1)
    """Share of the steps in which only the robust set learns."""


class Swat(Defence):
    """SWAT."""

    title, paper = "SWAT", "arXiv 2410.04524 v2"
    needs, decides = (SCAN,), (RATES,)
    Settings = WarmUp

    def edit_plan(self, inputs: PlanInputs) -> Plan:
        """The robust set alone first, then everything."""
        warm_up = lr_plan("swat", inputs, inputs.robust, 0.0)
        phase = Phase(until=self.settings.warmup_fraction, entries=warm_up.entries)
        return warm_up.model_copy(update={"entries": (rest(1.0),), "phases": (phase,)})


defence = Swat
