"""Param groups: one optimizer group per distinct treatment a plan asks for.

Adam ignores the scale of gradients, so a multiplier is put on a group's learning rate, never on gradients.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.optim import Optimizer

from securetune.base.artifacts import digest
from securetune.errors import PlanError
from securetune.models.adapters import Target, targets
from securetune.models.topology import clean_name
from securetune.plans.plan import Plan

_MULTIPLIERS, _MEMBERS, _PHASES = "multipliers", "members", "phases"
"""Keys of an optimizer's group, and so of a checkpoint, that say how a plan treats which parameters, and until when."""


@dataclass(kw_only=True)
class Treatment:
    """Parameters that a plan treats alike."""

    lr_scale: tuple[float, ...]
    """Learning-rate multiplier in every stage of the plan."""
    weight_decay: float
    until: tuple[float, ...] = ()
    """Where the plan's phases end, as shares of the steps."""
    names: list[str] = field(default_factory=list)
    parameters: list[nn.Parameter] = field(default_factory=list)

    @property
    def reference(self) -> float:
        """The multiplier inside the rate that the scheduler sees: the final stage's, or 1 where that is 0."""
        return self.lr_scale[-1] or 1.0

    @property
    def label(self) -> str:
        """Name in logs: ``x1``, or ``x1>x0.1`` where it changes between stages."""
        return scale_label(self.lr_scale) + ("" if self.weight_decay else "_no_decay")

    def as_group(self) -> dict[str, Any]:
        """The group as an optimizer takes it; its rate is the optimizer's own until `scale_rates` changes it."""
        return {"params": self.parameters, "weight_decay": self.weight_decay, **self._marks}

    @property
    def _marks(self) -> dict[str, str]:
        phases = {_PHASES: ">".join(map(repr, self.until))} if self.until else {}
        return {_MULTIPLIERS: ">".join(map(repr, self.lr_scale)), _MEMBERS: digest(self.names), **phases}


def scale_label(lr_scale: Sequence[float]) -> str:
    """A multiplier as people read it: ``x1``, or ``x1>x0.1`` where it changes between stages."""
    changes = [m for i, m in enumerate(lr_scale) if i == 0 or m != lr_scale[i - 1]]
    return ">".join(f"x{m:g}" for m in changes)


def multipliers(plan: Plan, target: Target) -> tuple[float, ...]:
    """The learning-rate multiplier, in every stage, of a parameter that changes `target`.

    Raises:
        PlanError: modules with different multipliers share the parameter.
    """
    if target.is_adapter and len({plan.lr_scale(weight) for weight in target.weights}) > 1:
        first, other = _unlike(plan, target.weights)
        raise PlanError(
            f"Expected parameters of one module each, or of modules with one multiplier, found {target.names[-1]} "
            f"shared by {first} ({scale_label(plan.lr_scale(first))}) and {other} "
            f"({scale_label(plan.lr_scale(other))}). Use an adapter that shares nothing, such as LoRA."
        )
    return plan.lr_scale(*target.names)


def _unlike(plan: Plan, weights: Sequence[str]) -> tuple[str, str]:
    first = weights[0]
    return first, next(weight for weight in weights if plan.lr_scale(weight) != plan.lr_scale(first))


def treatments(model: nn.Module, plan: Plan, *, decayed: Collection[str], weight_decay: float) -> list[Treatment]:
    """Group what a plan trains; decayed groups come first, as in the trainer's own optimizer.

    Args:
        model: the model, whose parameters keep their order.
        plan: the plan in force.
        decayed: names of the parameters that get weight decay at all.
        weight_decay: the trainer's weight decay.

    Raises:
        PlanError: no parameter is left to train, or modules with different multipliers share one.
    """
    groups: dict[tuple[bool, tuple[float, ...], float], Treatment] = {}
    changed, until = targets(model), tuple(phase.until for phase in plan.phases)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or not any(scale := multipliers(plan, changed[name])):
            continue
        decay = weight_decay * plan.wd_scale(*changed[name].names) if name in decayed else 0.0
        key = (name not in decayed, scale, decay)
        group = groups.setdefault(key, Treatment(lr_scale=scale, weight_decay=decay, until=until))
        group.names.append(name)
        group.parameters.append(parameter)
    if not groups:
        raise PlanError(
            f"Expected the {plan.method!r} plan to leave something to train, found every trainable parameter frozen. "
            "Train modules of the robust set (LoRA target_modules), or raise the multipliers."
        )
    return [groups[key] for key in sorted(groups, key=lambda key: key[0])]


def scale_rates(optimizer: Optimizer, groups: Iterable[Treatment]) -> None:
    """Put the plan's multipliers on the rates that an optimizer has given its groups.

    Raises:
        PlanError: the optimizer has no rate.
    """
    for treatment, group in zip(groups, optimizer.param_groups, strict=True):
        if group.get("lr") is None:
            raise PlanError(
                f"Expected an optimizer with a learning rate, found {type(optimizer).__name__} without one: a plan has "
                "nothing to multiply. Give it `lr`, and no relative steps."
            )
        group["lr"] = group["lr"] * treatment.reference


def check_groups(groups: Sequence[Treatment], stored: Sequence[Mapping[str, Any]]) -> None:
    """Make sure that an optimizer's groups, or those of a checkpoint, are the plan's.

    A checkpoint brings the rates of its own run along, which would go on in silence.

    Raises:
        PlanError: other groups, other multipliers, phases that end elsewhere, or another weight decay.
    """
    if [group.get(_MEMBERS) for group in stored] != [treatment._marks[_MEMBERS] for treatment in groups]:
        raise PlanError(
            f"Expected a checkpoint with the plan's {len(groups)} parameter groups, found {len(stored)} that hold "
            "other parameters: it was written with another plan or without one. Resume with the plan that it was "
            "written with, or start anew from its weights."
        )
    for treatment, group in zip(groups, stored, strict=True):
        if group[_MULTIPLIERS] != treatment._marks[_MULTIPLIERS]:
            before = scale_label([float(part) for part in group[_MULTIPLIERS].split(">")])
            raise PlanError(
                f"Expected a checkpoint whose {len(treatment.names)} parameters such as {treatment.names[0]} were "
                f"trained at {scale_label(treatment.lr_scale)}, found {before}: its optimizer would go on at that. "
                "Resume with the plan that it was written with, or start anew from its weights."
            )
        if group.get(_PHASES, "") != treatment._marks.get(_PHASES, ""):
            raise PlanError(
                f"Expected a checkpoint of a plan whose phases end at {_shares(treatment._marks.get(_PHASES))} of the "
                f"steps, found {_shares(group.get(_PHASES))}: its modules were held still for another time. Resume "
                "with the plan that it was written with, or start anew from its weights."
            )
        if not math.isclose(group["weight_decay"], treatment.weight_decay):
            raise PlanError(
                f"Expected a checkpoint with weight decay {treatment.weight_decay:g} for {treatment.label}, found "
                f"{group['weight_decay']:g}: its optimizer would go on with that. Resume with the weight decay that it "
                "was written with, or start anew from its weights."
            )


def freeze(model: nn.Module, plan: Plan) -> set[str]:
    """Switch gradients off where the plan never trains; returns the names, without wrappers, of what had some."""
    changed, frozen = targets(model), set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not any(multipliers(plan, changed[name])):
            parameter.requires_grad_(False)
            frozen.add(clean_name(name))
    return frozen


def unfreeze(model: nn.Module, frozen: Collection[str]) -> None:
    """Switch the gradients on again that `freeze` has switched off."""
    for name, parameter in model.named_parameters():
        if clean_name(name) in frozen:
            parameter.requires_grad_(True)


def _shares(phases: str | None) -> str:
    return phases.replace(">", " and ") if phases else "no share"
