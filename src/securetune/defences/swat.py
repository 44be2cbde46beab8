"""SWAT: only the robust set learns for a first share of the steps, then everything does.

Source: Du et al. 2025, arXiv 2410.04524 v2 (ACL 2026). The share is not public; the default is ours.
"""

from securetune.defences.interface import Defence, DefenceConfig, PlanInputs, lr_plan
from securetune.plan import Phase, Plan, rest


class _Swat(Defence):
    def edit_plan(self, inputs: PlanInputs, config: DefenceConfig) -> Plan:
        warm_up = lr_plan("swat", inputs, inputs.robust, 0.0)
        phase = Phase(until=config.warmup_fraction, entries=warm_up.entries)
        return warm_up.model_copy(update={"entries": (rest(1.0),), "phases": (phase,)})


defence = _Swat(title="SWAT", paper="arXiv 2410.04524 v2", needs=("scan",))
