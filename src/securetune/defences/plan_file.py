"""Plan file: train by a plan from a file, written by hand or taken from another run."""

from securetune.base.fingerprint import FilePath
from securetune.defences.base.interface import RATES, Defence, PlanInputs, Settings
from securetune.plans.plan import Plan


class PlanFile(Settings):
    """Settings of the plan from a file."""

    path: FilePath
    """Plan as JSON, or the plan artifact of a run."""


class FromFile(Defence):
    """The user's own plan."""

    title, paper = "plan file", "the user's own"
    decides = (RATES,)
    Settings = PlanFile

    def edit_plan(self, inputs: PlanInputs) -> Plan:
        """The plan as it stands in the file."""
        plan = Plan.load(self.settings.path)
        assert inputs.model.fingerprint is not None
        plan.check_model(inputs.model.fingerprint)
        return plan


defence = FromFile
