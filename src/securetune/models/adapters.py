"""Adapters: which weight does a parameter change?

PEFT puts an adapter's parameters below the module it wraps and moves that module's own parameters below ``base_layer``.
An adapter on a parameter that is no module, such as stacked experts, bears the name of the module around it, and two of
them are nested; which parameter each one wraps stands in the wrapper alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from securetune.models.topology import clean_name


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a parameter changes."""

    weights: tuple[str, ...]
    """The weights: its own name, or those that its adapter wraps; several where modules share it."""
    names: tuple[str, ...]
    """What a plan's patterns may find: the weights, then the names of the adapter's parts."""
    is_adapter: bool
    """Whether it belongs to an adapter."""


def targets(model: nn.Module) -> dict[str, Target]:
    """What every parameter changes, by the name that the model itself gives it."""
    wrapper, layers = _wrapper(model), {}
    for path, module in model.named_modules(remove_duplicate=False):
        if _is_adapter(module):
            layers[path.removeprefix(wrapper)] = module
    aliases: dict[int, list[Target]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        aliases.setdefault(id(parameter), []).append(_target(name.removeprefix(wrapper), layers))
    return {name: _joined(aliases[id(parameter)]) for name, parameter in model.named_parameters()}


def _wrapper(model: Any) -> str:
    """What PEFT puts before the names of the model that it wraps; it differs between kinds of adapters."""
    if not hasattr(model, "get_base_model"):
        return ""
    base = model.get_base_model()
    return next(f"{path}." for path, module in model.named_modules() if module is base)


def _is_adapter(module: nn.Module) -> bool:
    return hasattr(module, "adapter_layer_names") and hasattr(module, "base_layer")


def _target(name: str, layers: Mapping[str, nn.Module]) -> Target:
    path = name
    while path:
        path = path.rpartition(".")[0]
        part = name.removeprefix(f"{path}.")
        if path in layers and not part.startswith("base_layer."):
            return _of_adapter(path, part, layers[path])
    own = clean_name(name)
    return Target(weights=(own,), names=(own,), is_adapter=False)


def _of_adapter(path: str, part: str, layer: Any) -> Target:
    parameter: str = getattr(layer, "parameter_name", "weight")
    weight = clean_name(f"{path}.{parameter}")
    owner = clean_name(f"{path}.{part}") if parameter == "weight" else f"{weight}.{part}"
    return Target(weights=(weight,), names=(weight, owner), is_adapter=True)


def _joined(alike: list[Target]) -> Target:
    if len(alike) == 1:
        return alike[0]
    # An adapter's part may also hang on the model itself, where it wraps nothing.
    wrapping = [target for target in alike if target.is_adapter] or alike
    return Target(
        weights=tuple(dict.fromkeys(weight for target in wrapping for weight in target.weights)),
        names=tuple(dict.fromkeys(name for target in wrapping for name in target.names)),
        is_adapter=wrapping[0].is_adapter,
    )
