"""ML-LR: the normal learning rate on the robust set, a far smaller one everywhere else.

Source: Du et al. 2024, arXiv 2410.04524 v1. The ratio is not public; the default is ours.
"""

from securetune.defences.base.interface import RATES, Defence, PlanInputs, SensitiveRate, lr_plan
from securetune.defences.base.needs import SCAN
from securetune.plans.plan import Plan


class MlLr(Defence):
    """ML-LR."""

    title, paper = "ML-LR", "arXiv 2410.04524 v1"
    needs, decides = (SCAN,), (RATES,)
    Settings = SensitiveRate

    def edit_plan(self, inputs: PlanInputs) -> Plan:
        """The normal rate on the robust set."""
        return lr_plan("ml_lr", inputs, inputs.robust, self.settings.sensitive_lr_mult)


defence = MlLr
