"""Exchange: plans for other trainers, and plans from published lists of layers.

Every export is checked parameter by parameter against the other trainer's own rule of matching, as read in its source:
axolotl 0.19 (substrings, the first module listed wins, decayed parameters only), NeMo AutoModel 0.7 and torchtitan 0.3
(`re.search`, the first pattern wins), PEFT 0.21 (`re.fullmatch` on module names). No torch here.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from securetune.base.patterns import is_found
from securetune.errors import PlanError
from securetune.models.topology import ROLES, ModuleRef, ModuleSet, Topology, clean_name
from securetune.plans.plan import EVERYTHING, Entry, Plan, PlanModel, module_entries, over_layers, rest

Exported = dict[str, Any]
_EMBEDDINGS = ("embed_tokens", "lm_head")
_UNDECAYED = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)", re.IGNORECASE)
"""What transformers 5 excludes from weight decay, by name."""


def to_axolotl(plan: Plan, topology: Topology, parameters: Iterable[str], *, learning_rate: float) -> Exported:
    """``learning_rate`` and ``lr_groups`` of an axolotl configuration.

    axolotl's own rate, which embeddings, norms and biases get too, is that of the plan for everything it does not name;
    the groups hold the modules with another one.

    Args:
        plan: a plan without phases.
        topology: the model's.
        parameters: names of the trainable parameters, adapters or not.
        learning_rate: rate of multiplier 1.

    Raises:
        PlanError: axolotl cannot give every parameter its rate.
    """
    _check_expressible(plan, "axolotl")
    names = list(parameters)
    default = _closing(plan).lr_mult
    modules: dict[float, list[str]] = {}
    for ref in sorted(topology.modules, key=lambda ref: (ref.layer, ROLES.index(ref.role))):
        path = topology.modules[ref].path
        scales = {plan.lr_scale(name)[-1] for name in names if f"{path}." in clean_name(name)}
        for scale in scales - {default}:
            modules.setdefault(scale, []).append(f"{path}.")
    exported = {
        "learning_rate": learning_rate * default,
        "lr_groups": [
            {"name": f"securetune_x{scale:g}", "modules": paths, "lr": learning_rate * scale}
            for scale, paths in sorted(modules.items())
        ],
    }
    _check(plan, names, lambda name: axolotl_rate(name, exported) / learning_rate, "axolotl")
    return exported


def axolotl_rate(parameter: str, exported: Mapping[str, Any]) -> float:
    """The rate that axolotl gives a parameter under a configuration with ``learning_rate`` and ``lr_groups``."""
    default: float = exported["learning_rate"]
    is_embedding = parameter.endswith("modules_to_save.default.weight") or any(e in parameter for e in _EMBEDDINGS)
    if is_embedding or _UNDECAYED.search(parameter):
        return default
    groups = exported["lr_groups"]
    return next((group["lr"] for group in groups for module in group["modules"] if module in parameter), default)


def to_nemo(plan: Plan, topology: Topology, parameters: Iterable[str], *, learning_rate: float) -> Exported:
    """``param_group_overrides`` of a NeMo AutoModel optimizer; the rate itself stays in its own field."""
    del topology, learning_rate
    _check_expressible(plan, "NeMo", decay=True)
    overrides = [entry.model_dump() for entry in plan.entries]
    _check(plan, parameters, lambda name: _searched(overrides, clean_name(name), "lr_mult"), "NeMo")
    return {"param_group_overrides": overrides}


def to_torchtitan(plan: Plan, topology: Topology, parameters: Iterable[str], *, learning_rate: float) -> Exported:
    """``param_groups`` of torchtitan's optimizer, for models with Hugging Face's names (its transformers backend)."""
    del topology
    _check_expressible(plan, "torchtitan")
    names = list(parameters)
    plan.check_patterns(names)  # torchtitan stops at a pattern that matches nothing
    entries = plan.entries if _closing(plan) in plan.entries else (*plan.entries, rest(1.0))
    rates = [{"pattern": entry.pattern, "lr": learning_rate * entry.lr_mult} for entry in entries]
    _check(plan, names, lambda name: _searched(rates, clean_name(name), "lr") / learning_rate, "torchtitan")
    return {
        "param_groups": [
            {"pattern": rate["pattern"], "optimizer_name": "AdamW", "optimizer_kwargs": {"lr": rate["lr"]}}
            for rate in rates
        ]
    }


def to_lora(plan: Plan, topology: Topology, parameters: Iterable[str], *, learning_rate: float) -> Exported:
    """``target_modules`` of a PEFT `LoraConfig` that adapts only the modules with the plan's highest multiplier.

    Raises:
        PlanError: a module is an expert tensor, which LoRA adapts by parameter and not by module.
    """
    del parameters, learning_rate
    scales = {ref: plan.lr_scale(f"{info.path}.weight")[-1] for ref, info in topology.modules.items()}
    chosen = ModuleSet.of(ref for ref, scale in scales.items() if scale == max(scales.values()))
    experts = [str(ref) for ref in chosen if ref.is_expert]
    if experts:
        raise PlanError(
            f"Expected projections to adapt, found stacked experts: {experts[:3]}. Give LoraConfig their names as "
            "`target_parameters` by hand."
        )
    regex = "|".join(over_layers((ref.layer, topology.modules[ref].path) for ref in chosen))
    found = {ref for ref, info in topology.modules.items() if re.fullmatch(regex, info.path)}
    assert found == set(chosen), "the expression has to match exactly the chosen modules"
    return {"target_modules": regex}


FORMATS: dict[str, Callable[..., Exported]] = {
    "axolotl": to_axolotl,
    "nemo": to_nemo,
    "torchtitan": to_torchtitan,
    "lora": to_lora,
}
"""Name of a format -> its export."""


def adapter_names(topology: Topology) -> list[str]:
    """Names of the trainable parameters under LoRA adapters on every projection, as PEFT gives them."""
    return [
        f"base_model.model.{info.path}.lora_{side}.default.weight"
        for ref, info in topology.modules.items()
        for side in "AB"
        if not ref.is_expert
    ]


def plan_from_list(
    listed: Sequence[int | str], topology: Topology, model: PlanModel, *, lr_mult: float, method: str = "list"
) -> Plan:
    """A plan that holds the listed layers or modules back.

    Args:
        listed: layer numbers, modules as ``3.q``, or their paths in the model.
        topology: the model's.
        model: what the plan says it is for.
        lr_mult: multiplier of the listed ones; 0 freezes. Everything else has 1.
        method: name of the plan.

    Raises:
        PlanError: an entry names nothing in the model, or the list is empty.
    """
    by_path = {info.path: ref for ref, info in topology.modules.items()}
    refs: set[ModuleRef] = set()
    for item in listed:
        of_layer = {ref for ref in topology.modules if str(ref.layer) == str(item)}
        of_ref = {ref for ref in topology.modules if str(ref) == str(item)}
        of_path = {by_path[str(item)]} if str(item) in by_path else set()
        if not of_layer | of_ref | of_path:
            raise PlanError(
                f"Expected layers 0 to {topology.layers - 1}, modules such as {next(iter(topology.all))}, or their "
                f"paths, found {item!r}. Correct the list."
            )
        refs |= of_layer | of_ref | of_path
    if not refs:
        raise PlanError("Expected layers or modules in the list, found none. Fill it.")
    modules = ModuleSet.of(refs)
    return Plan(
        method=method,
        model=model,
        entries=(*module_entries(modules, topology, lr_mult=lr_mult), rest(1.0)),
        robust=tuple((topology.all - modules).names()),
    )


def _closing(plan: Plan) -> Entry:
    """The entry for every parameter that no other one names."""
    is_closed = bool(plan.entries) and plan.entries[-1].pattern == EVERYTHING
    return plan.entries[-1] if is_closed else rest(1.0)


def _searched(entries: Sequence[Mapping[str, Any]], name: str, value: str) -> float:
    """The value of the first entry whose pattern is found in a name; 1 where none is."""
    found: float = next((entry[value] for entry in entries if is_found(entry["pattern"], name)), 1.0)
    return found


def _check_expressible(plan: Plan, trainer: str, *, decay: bool = False) -> None:
    if plan.phases:
        raise PlanError(
            f"Expected a plan without phases for {trainer}, found the {plan.method!r} plan's {len(plan.phases)}. "
            f"Rates cannot change on the way there: use securetune.attach(), or export another plan."
        )
    if not decay and any(entry.wd_mult != 1 for entry in plan.entries):
        raise PlanError(f"Expected a plan without weight-decay multipliers for {trainer}, found some. Take them out.")


def _check(plan: Plan, parameters: Iterable[str], rate: Callable[[str], float], trainer: str) -> None:
    """Make sure that the other trainer gives every parameter the plan's multiplier."""
    for name in parameters:
        ours, theirs = plan.lr_scale(name)[-1], rate(name)
        if abs(ours - theirs) > 1e-9:
            raise PlanError(
                f"Expected {trainer} to train {name} at x{ours:g}, found that its rule gives x{theirs:g}. Tune with "
                "LoRA adapters on the projections only, or use securetune.attach()."
            )
