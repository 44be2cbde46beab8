"""Reading: from a loaded model to its topology."""

import re
from collections.abc import Iterator

from torch import nn
from transformers import PreTrainedModel

from securetune.errors import TopologyError
from securetune.models.adapters import targets
from securetune.models.families import LAYER_LISTS, NOT_MODULES, OVERRIDES, ROLE_OF_NAME
from securetune.models.topology import ModuleInfo, ModuleRef, Topology, clean_name

_COPIES = ".modules_to_save."
"""In the name of a parameter that PEFT has copied to train it whole; the one it was copied from is there as well."""


def read_topology(model: PreTrainedModel) -> Topology:
    """Assign every projection of every decoder layer to a role.

    Raises:
        TopologyError: not exactly one list of decoder layers, or a weight in them whose role is unknown.
    """
    model_type = model.config.model_type
    prefix = _layer_list(model)
    roles = {**ROLE_OF_NAME, **OVERRIDES.get(model_type, {})}
    modules: dict[ModuleRef, ModuleInfo] = {}
    unknown: set[str] = set()
    for layer, name, weight, shape in _layer_weights(model, prefix):
        module = name.removesuffix(".weight")
        role = roles.get(module)
        if role is None:
            unknown.add(name)
            continue
        ref = ModuleRef(layer, role)
        if ref in modules:
            raise TopologyError(
                f"Expected one module per role and layer of {model_type!r}, found two for {ref}: "
                f"{modules[ref].weight} and {weight}. Give one another role in OVERRIDES in models/families.py."
            )
        modules[ref] = ModuleInfo(path=weight.removesuffix(".weight"), weight=weight, shape=shape)
    if unknown:
        raise TopologyError(
            f"Expected a known role for every projection of {model_type!r}, found no role for {sorted(unknown)}. "
            f"Add an entry for {model_type!r} to OVERRIDES (or NOT_MODULES) in models/families.py."
        )
    text = model.config.get_text_config()
    return Topology(model_type=model_type, layers=text.num_hidden_layers, hidden_size=text.hidden_size, modules=modules)


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The list of decoder layers, in order, of the whole model or its text tower.

    Raises:
        TopologyError: not exactly one such list.
    """
    layers = model.get_submodule(_layer_list(model))
    assert isinstance(layers, nn.ModuleList)
    return layers


def _layer_list(model: PreTrainedModel) -> str:
    """Dotted path of the one list of decoder layers, with what a compiled model has in it."""
    lists: dict[str, str] = {
        clean_name(name): name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)
    }
    found = [lists[name] for name in LAYER_LISTS if name in lists]
    if len(found) != 1:
        raise TopologyError(
            f"Expected one list of decoder layers in {model.config.model_type!r}, found {len(found)}: {found} "
            f"(lists in the model: {sorted(lists)[:8]}). Add its path to LAYER_LISTS in models/families.py."
        )
    return found[0]


def _layer_weights(model: nn.Module, prefix: str) -> Iterator[tuple[int, str, str, tuple[int, ...]]]:
    """Layer, name below the layer, full name and shape of every weight with at least two dimensions.

    Adapters are looked through: what wraps a projection counts as that projection. Quantized weights are stored flat,
    so a projection's shape is taken from the module.
    """
    changed = targets(model)
    pattern = re.compile(rf"{re.escape(clean_name(prefix))}\.(\d+)\.(.+)")
    for stored_name, parameter in model.named_parameters():
        if changed[stored_name].is_adapter or _COPIES in stored_name:
            continue
        weight = clean_name(stored_name)
        match = pattern.fullmatch(weight)
        if match and parameter.dim() >= 2 and match[2] not in NOT_MODULES:
            owner = model.get_submodule(stored_name.rpartition(".")[0])
            sides = getattr(owner, "out_features", None), getattr(owner, "in_features", None)
            shape = sides if all(isinstance(side, int) for side in sides) else tuple(parameter.shape)
            yield int(match[1]), match[2], weight, shape
