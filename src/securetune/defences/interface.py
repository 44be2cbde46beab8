"""Interface: the hooks of a defence, all optional, and what it declares about itself."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from securetune.plan import Plan, PlanModel, plan_of
from securetune.topology import ModuleSet, Topology


class DefenceConfig(BaseModel):
    """Settings of the plan-based defences."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sensitive_lr_mult: float = Field(default=0.05, ge=0)
    """ML-LR: factor on the learning rate outside the robust set; 0 freezes, 1 is plain tuning."""
    warmup_fraction: float = Field(default=0.5, gt=0, lt=1)
    """SWAT: share of the steps in which only the robust set learns."""
    plan_file: str | None = None
    """Plan for the arm ``plan_file``."""


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
    """What a defence may build its plan from."""

    model: PlanModel
    topology: Topology
    robust: ModuleSet
    """Mods_Robust, as the search found it."""
    search: Callable[[str, int], ModuleSet]
    """Run another search by name and size (`random`, `inverted`)."""
    scores: dict[str, float]
    signal: str
    seed: int
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Defence:
    """Base of all defences: plain tuning."""

    title: str
    """Name in tables."""
    paper: str
    """Where the method comes from."""
    needs: tuple[str, ...] = ()
    """What it needs beyond the task data: ``scan``, ``safety_data``, ``reference_model``, ``extra_passes``."""
    cost: str = "none"
    """Extra cost per training step."""
    is_defence: bool = True
    """Whether it is meant to protect; plain tuning and baselines only serve the comparison."""

    def edit_plan(self, inputs: PlanInputs, config: DefenceConfig) -> Plan | None:
        """The plan to attach, or None to leave the optimizer alone."""
        del inputs, config
        return None


def lr_plan(method: str, inputs: PlanInputs, robust: ModuleSet, rest_lr_mult: float) -> Plan:
    """ML-LR's plan for a given robust set, with its provenance."""
    return plan_of(
        method,
        inputs.model,
        inputs.topology,
        robust,
        rest_lr_mult=rest_lr_mult,
        scores=inputs.scores,
        signal=inputs.signal,
        seed=inputs.seed,
        versions=inputs.versions,
    )
