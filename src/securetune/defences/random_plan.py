"""Random plan: ML-LR on as many modules drawn at random; shows what the choice of modules is worth."""

from securetune.defences.base.interface import RATES, Defence, PlanInputs, SensitiveRate, lr_plan
from securetune.defences.base.needs import SCAN
from securetune.plans.plan import Plan


class RandomPlan(Defence):
    """ML-LR on other modules."""

    title, paper, is_defence = "random plan", "baseline", False
    needs, decides = (SCAN,), (RATES,)
    Settings, section = SensitiveRate, "ml_lr"

    def edit_plan(self, inputs: PlanInputs) -> Plan:
        """The normal rate on as many other modules."""
        chosen = inputs.search("random", len(inputs.robust))
        return lr_plan("random_plan", inputs, chosen, self.settings.sensitive_lr_mult)


defence = RandomPlan
