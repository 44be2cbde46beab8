"""Inverted plan: ML-LR with the robust and the sensitive modules swapped; should do worst if the scan is right.

As many modules as the robust set has get the normal rate: the most sensitive ones.
"""

from securetune.defences.base.interface import RATES, Defence, PlanInputs, SensitiveRate, lr_plan
from securetune.defences.base.needs import SCAN
from securetune.plans.plan import Plan


class InvertedPlan(Defence):
    """ML-LR on other modules."""

    title, paper, is_defence = "inverted plan", "baseline", False
    needs, decides = (SCAN,), (RATES,)
    Settings, section = SensitiveRate, "ml_lr"

    def edit_plan(self, inputs: PlanInputs) -> Plan:
        """The normal rate on as many other modules."""
        chosen = inputs.search("inverted", len(inputs.robust))
        return lr_plan("inverted_plan", inputs, chosen, self.settings.sensitive_lr_mult)


defence = InvertedPlan
