"""ML-LR: the normal learning rate on the robust set, a far smaller one everywhere else.

Source: Du et al. 2024, arXiv 2410.04524 v1. The ratio is not public; the default is ours.
"""

from securetune.defences.interface import Defence, DefenceConfig, PlanInputs, lr_plan
from securetune.plan import Plan


class _MlLr(Defence):
    def edit_plan(self, inputs: PlanInputs, config: DefenceConfig) -> Plan:
        return lr_plan("ml_lr", inputs, inputs.robust, config.sensitive_lr_mult)


defence = _MlLr(title="ML-LR", paper="arXiv 2410.04524 v1", needs=("scan",))
