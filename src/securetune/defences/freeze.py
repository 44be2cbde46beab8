"""Freeze: only the robust set is trained; ML-LR with the factor 0.

Source: the limit of Du et al. 2024, arXiv 2410.04524 v1.
"""

from securetune.defences.base.interface import RATES, Defence, PlanInputs, lr_plan
from securetune.defences.base.needs import SCAN
from securetune.plans.plan import Plan


class Freeze(Defence):
    """Freezing everything outside the robust set."""

    title, paper = "freeze", "limit of arXiv 2410.04524 v1"
    needs, decides = (SCAN,), (RATES,)

    def edit_plan(self, inputs: PlanInputs) -> Plan:
        """No rate outside the robust set."""
        return lr_plan("freeze", inputs, inputs.robust, 0.0)


defence = Freeze
