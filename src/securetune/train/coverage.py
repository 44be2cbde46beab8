"""Coverage: does everything that a plan trains have something to train?

A plan speaks of modules, an adapter or the user may have left some without a trainable parameter. Leaving out a whole
layer, a whole role, or all that the plan holds at one multiplier, is a choice, and is said. A single module without one
is a mistake, and so is leaving out all that the plan trains at its highest multiplier.
"""

import logging
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from securetune.errors import PlanError
from securetune.models.adapters import targets
from securetune.models.topology import ModuleRef, ModuleSet, Topology
from securetune.plans.plan import Plan
from securetune.train.param_groups import multipliers, scale_label

log = logging.getLogger(__name__)

Scale = tuple[float, ...]
"""Multiplier in every stage of a plan."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What a plan trains of a model, module by module."""

    scales: dict[ModuleRef, Scale]
    """The plan's multiplier of every module."""
    reached: ModuleSet
    """Modules with something to train."""

    @classmethod
    def of(cls, model: nn.Module, plan: Plan, topology: Topology) -> "Coverage":
        """How a model as it is now is trained by a plan."""
        trained = {weight for _, weights in _trained(model, plan) for weight in weights}
        places = trained | {weight.rpartition(".")[0] for weight in trained}
        return cls(
            scales={ref: plan.lr_scale(info.weight) for ref, info in topology.modules.items()},
            reached=ModuleSet.of(ref for ref, info in topology.modules.items() if {info.weight, info.path} & places),
        )

    @property
    def missed(self) -> ModuleSet:
        """Modules that the plan trains and that have nothing to train."""
        return ModuleSet.of(ref for ref, scale in self.scales.items() if any(scale)) - self.reached

    @property
    def holes(self) -> ModuleSet:
        """Missed modules that no choice of layers, of roles or of a multiplier explains."""
        layers, roles = {ref.layer for ref in self.reached}, {ref.role for ref in self.reached}
        scales = {self.scales[ref] for ref in self.reached}
        return ModuleSet.of(
            ref for ref in self.missed if ref.layer in layers and ref.role in roles and self.scales[ref] in scales
        )

    @property
    def foremost(self) -> ModuleSet:
        """Modules with the plan's highest multiplier."""
        highest = max(map(max, self.scales.values()))
        return ModuleSet.of(ref for ref, scale in self.scales.items() if max(scale) == highest > 0)


def check_coverage(coverage: Coverage, plan: Plan, topology: Topology) -> None:
    """Make sure that what a plan trains can be trained, and say what is left out.

    Raises:
        PlanError: a module without anything to train, or all that have the plan's highest multiplier.
    """
    foremost, missed = coverage.foremost, coverage.missed
    if coverage.holes:
        raise PlanError(
            f"Expected something to train in every module that the {plan.method!r} plan trains, found nothing in "
            f"{_some(coverage.holes)}, though their layers and roles have it elsewhere. Make them targets of the "
            "adapter, or give them the multiplier 0 in the plan."
        )
    if foremost and not foremost.members & coverage.reached.members:
        highest = scale_label(coverage.scales[next(iter(foremost))])
        raise PlanError(
            f"Expected something to train where the {plan.method!r} plan trains most, at {highest}, found nothing in "
            f"its {len(foremost)} modules: {_some(foremost)}. {_remedy(foremost, topology)}"
        )
    first = ModuleSet(missed.members & foremost.members)
    if first:
        log.warning(
            "%d of the %d modules that the %r plan trains most have nothing to train: %s. %s",
            len(first), len(foremost), plan.method, _some(first), _remedy(first, topology),
        )  # fmt: skip
    if missed - first:
        log.info("Not trained, as no adapter or trainable weight is there: %s.", _some(missed - first))


def in_force(coverage: Coverage) -> str:
    """What trains at which multiplier: ``112 modules at x1, 98 at x0.05``."""
    counts = Counter(scale for ref, scale in coverage.scales.items() if ref in coverage.reached or not any(scale))
    parts = [f"{count} at {scale_label(scale)}" for scale, count in sorted(counts.items(), reverse=True)]
    return ", ".join(parts).replace(" at", " modules at", 1)


def parameters_in_force(model: nn.Module, plan: Plan) -> str:
    """The same of a model whose modules nobody knows, and of what is no module, by parameters."""
    counts = Counter(scale for scale, _ in _trained(model, plan))
    parts = [f"{count} at {scale_label(scale)}" for scale, count in sorted(counts.items(), reverse=True)]
    return ", ".join(parts).replace(" at", " parameters at", 1)


def warn_of_rounding(model: nn.Module, plan: Plan) -> None:
    """Say when weights are so coarse that small steps round away: bf16 tells apart steps of about 1/256 of a weight."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    coarse = [parameter for parameter in trainable if parameter.dtype in (torch.bfloat16, torch.float16)]
    if coarse:
        log.warning(
            "Expected float32 weights to train, found %d of %d in %s: small steps round away there, so that modules "
            "with a small multiplier of the %r plan hardly move. Load the model with dtype=torch.float32 and train "
            "with bf16=True where there is a GPU.",
            len(coarse), len(trainable), str(coarse[0].dtype).removeprefix("torch."), plan.method,
        )  # fmt: skip


def _trained(model: nn.Module, plan: Plan) -> list[tuple[Scale, tuple[str, ...]]]:
    """Multiplier and changed weights of every parameter that trains."""
    changed = targets(model)
    trainable = [changed[name] for name, parameter in model.named_parameters() if parameter.requires_grad]
    return [(scale, target.weights) for target in trainable if any(scale := multipliers(plan, target))]


def _some(modules: ModuleSet) -> str:
    """Roles where there are many modules, else the modules."""
    if len(modules) <= 4:
        return ", ".join(modules.names())
    counts = Counter(ref.role for ref in modules)
    return ", ".join(f"{role} of {count} layers" for role, count in counts.items())


def _remedy(modules: ModuleSet, topology: Topology) -> str:
    weights = {topology.modules[ref].weight.partition(f".{ref.layer}.")[2] for ref in modules if ref.is_expert}
    if weights:
        return f"LoRA adapts stacked experts by parameter only: target_parameters={sorted(weights)}."
    return "Make them targets of the adapter (target_modules), or make a plan for what you train."
