"""Alignment: which way did alignment move the weights, and which way does tuning move them?

Serves the defences that compare the two (SafeLoRA, SafeMERGE, RESTA). Modules are paired by name.
Shapes: o outputs, i inputs of a module, r LoRA rank.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from securetune.defences.base.run import TrainingRun
from securetune.errors import ConfigError
from securetune.models.topology import clean_name


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """A module with a LoRA adapter."""

    name: str
    """Its name in the model without adapters."""
    layer: Any
    """PEFT's layer."""
    adapter: str

    @property
    def weight(self) -> Float[Tensor, "o i"]:
        """The weight under the adapter."""
        weight: Tensor = self.layer.base_layer.weight
        return weight

    @property
    def b(self) -> Float[Tensor, "o r"]:
        """LoRA's B, in place."""
        weight: Tensor = self.layer.lora_B[self.adapter].weight
        return weight

    def delta(self) -> Float[Tensor, "o i"]:
        """What the adapter adds to the weight."""
        delta: Tensor = self.layer.get_delta_weight(self.adapter)
        return delta.detach()


def adapted_modules(run: TrainingRun, adapter: str = "default") -> list[Adapted]:
    """All modules with a LoRA adapter, in model order.

    Raises:
        ConfigError: an adapter wraps a parameter that is no module.
    """
    layers = {
        clean_name(name): module
        for name, module in run.model.named_modules()
        if adapter in getattr(module, "lora_B", {}) and hasattr(module, "get_delta_weight")
    }
    stacked = sorted({layer.parameter_name for layer in layers.values() if hasattr(layer, "parameter_name")})
    if stacked:
        raise ConfigError(
            "Expected adapters on modules for a defence that compares them with the alignment, found some on stacked "
            f"experts ({', '.join(stacked)}). Leave target_parameters out, or use another defence."
        )
    return [Adapted(name=name, layer=layer, adapter=adapter) for name, layer in layers.items()]


def unaligned_weights(run: TrainingRun) -> dict[str, Tensor]:
    """Parameters, by name, of the model before its alignment."""
    load = run.resources.unaligned
    assert load is not None
    return dict(load().named_parameters())


def paired(before: dict[str, Tensor], name: str, weight: Tensor) -> Tensor:
    """The unaligned model's weight of that name.

    Raises:
        ConfigError: it has none of that name and shape.
    """
    found = before.get(name)
    if found is None or found.shape != weight.shape:
        raise ConfigError(
            f"Expected the unaligned model to have {name} of shape {tuple(weight.shape)}, found "
            f"{None if found is None else tuple(found.shape)}. Give the base that this model was aligned from."
        )
    return found.detach().to(weight)


def projected(alignment: Float[Tensor, "o i"], delta: Float[Tensor, "o k"]) -> Float[Tensor, "o k"]:
    """C delta with C = V V^T / |V|, V the alignment's change (SafeLoRA's approximate projection)."""
    return alignment @ (alignment.T @ delta) / alignment.norm()


def agreements(run: TrainingRun, before: dict[str, Tensor]) -> Iterator[tuple[Adapted, Tensor, float]]:
    """Every adapted module, its alignment's change V, and the cosine of its tuning's change with its projection."""
    for module in adapted_modules(run):
        weight = module.weight.detach()
        alignment = weight - paired(before, f"{module.name}.weight", weight)
        delta = module.delta()
        cosine = torch.nn.functional.cosine_similarity(delta.flatten(), projected(alignment, delta).flatten(), dim=0)
        yield module, alignment, float(cosine)
