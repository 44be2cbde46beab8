"""Inverted plan: ML-LR with the robust and the sensitive modules swapped; should do worst if the scan is right.

As many modules as the robust set has get the normal rate: the most sensitive ones.
"""

from securetune.defences.interface import Defence, DefenceConfig, PlanInputs, lr_plan
from securetune.plan import Plan


class _InvertedPlan(Defence):
    def edit_plan(self, inputs: PlanInputs, config: DefenceConfig) -> Plan:
        chosen = inputs.search("inverted", len(inputs.robust))
        return lr_plan("inverted_plan", inputs, chosen, config.sensitive_lr_mult)


defence = _InvertedPlan(title="inverted plan", paper="baseline", needs=("scan",), is_defence=False)
