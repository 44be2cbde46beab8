"""Random plan: ML-LR on as many modules drawn at random; shows what the choice of modules is worth."""

from securetune.defences.interface import Defence, DefenceConfig, PlanInputs, lr_plan
from securetune.plan import Plan


class _RandomPlan(Defence):
    def edit_plan(self, inputs: PlanInputs, config: DefenceConfig) -> Plan:
        chosen = inputs.search("random", len(inputs.robust))
        return lr_plan("random_plan", inputs, chosen, config.sensitive_lr_mult)


defence = _RandomPlan(title="random plan", paper="baseline", needs=("scan",), is_defence=False)
