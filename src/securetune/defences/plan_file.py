"""Plan file: train by a plan from a file, written by hand or taken from another run (`defence.plan_file`)."""

from securetune.defences.interface import Defence, DefenceConfig, PlanInputs
from securetune.errors import PlanError
from securetune.plan import Plan


class _PlanFile(Defence):
    def edit_plan(self, inputs: PlanInputs, config: DefenceConfig) -> Plan:
        if config.plan_file is None:
            raise PlanError("Expected defence.plan_file for the arm 'plan_file', found none. Give the path of a plan.")
        plan = Plan.load(config.plan_file)
        assert inputs.model.fingerprint is not None
        plan.check_model(inputs.model.fingerprint)
        return plan


defence = _PlanFile(title="plan file", paper="the user's own")
