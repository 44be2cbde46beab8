"""Param groups: one optimizer group per distinct treatment a plan asks for.

Adam ignores the scale of gradients, so a multiplier is put on a group's learning rate, never on gradients.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from securetune.errors import PlanError
from securetune.plans.plan import Plan


@dataclass(kw_only=True)
class Treatment:
    """Parameters that a plan treats alike."""

    lr_scale: tuple[float, ...]
    """Learning-rate multiplier in every stage of the plan."""
    weight_decay: float
    names: list[str] = field(default_factory=list)
    parameters: list[nn.Parameter] = field(default_factory=list)

    @property
    def reference(self) -> float:
        """The multiplier inside the rate that the scheduler sees: the final stage's, or 1 where that is 0."""
        return self.lr_scale[-1] or 1.0

    @property
    def label(self) -> str:
        """Name in logs: ``x1``, or ``x1>x0.1`` where it changes between stages."""
        changes = [m for i, m in enumerate(self.lr_scale) if i == 0 or m != self.lr_scale[i - 1]]
        return ">".join(f"x{m:g}" for m in changes) + ("" if self.weight_decay else "_no_decay")


def treatments(
    named: Iterable[tuple[str, nn.Parameter]], plan: Plan, *, decayed: Collection[str], weight_decay: float
) -> list[Treatment]:
    """Group trainable parameters; decayed groups come first, as in the trainer's own optimizer.

    Args:
        named: parameters with their names, in model order.
        plan: the plan in force.
        decayed: names of the parameters that get weight decay at all.
        weight_decay: the trainer's weight decay.

    Raises:
        PlanError: no parameter is left to train.
    """
    groups: dict[tuple[bool, tuple[float, ...], float], Treatment] = {}
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        decay = weight_decay * plan.wd_scale(name) if name in decayed else 0.0
        key = (name not in decayed, plan.lr_scale(name), decay)
        group = groups.setdefault(key, Treatment(lr_scale=key[1], weight_decay=decay))
        group.names.append(name)
        group.parameters.append(parameter)
    if not groups:
        raise PlanError(
            f"Expected the {plan.method!r} plan to leave something to train, found every trainable parameter frozen. "
            "Train modules of the robust set (LoRA target_modules), or raise the multipliers."
        )
    return [groups[key] for key in sorted(groups, key=lambda key: key[0])]


def optimizer_groups(groups: Iterable[Treatment], learning_rate: float) -> list[dict[str, Any]]:
    """The groups as an optimizer takes them."""
    return [{"params": g.parameters, "lr": learning_rate * g.reference, "weight_decay": g.weight_decay} for g in groups]


def freeze(model: nn.Module, plan: Plan) -> int:
    """Switch gradients off where the plan never trains; returns how many parameters that were trainable."""
    frozen = [p for name, p in model.named_parameters() if p.requires_grad and plan.is_frozen(name)]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return len(frozen)
