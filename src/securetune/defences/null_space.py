"""Null space: what is tuned may not change what the modules say to harmful prompts.

Source: GuardSpace, Zhang et al., ICLR 2026 (arXiv 2510.14301): a module's change is kept in the null space of the
covariance of its inputs on harmful prompts. Here LoRA's A, or the change of a whole weight, is projected onto it after
every step.
Norms, embeddings and biases that are tuned too are not held. How much of the inputs' energy still counts as null is our
choice. The paper's other half, an adapter that starts from the weight's small components, is left out: it changes the
weights below the adapter.
Shapes: o outputs, i inputs of a module, k directions that are held, t tokens.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from securetune.defences.base.alignment import adapted_modules
from securetune.defences.base.interface import Defence, Settings
from securetune.defences.base.needs import PROMPTS, REFERENCE
from securetune.defences.base.run import TrainingRun
from securetune.errors import ConfigError
from securetune.models.features import PromptBatch, batch_prompts, first_token
from securetune.models.tensors import plain
from securetune.models.topology import clean_name

_TOGETHER = 16
"""Prompts that are read at once."""


class Null(Settings):
    """Settings of the null space."""

    energy: float = Field(default=0.001, ge=0, lt=1)
    """Share of the squared inputs of a module that its null space may hold."""
    prompts: int = Field(default=200, ge=1)
    """Malicious prompts that are read."""


class NullSpace(Defence):
    """Changes in the null space of harmful inputs."""

    title, paper = "null space", "arXiv 2510.14301"
    needs = (REFERENCE, PROMPTS)
    weights = "whole"
    cost = "two small matrix products a module; once, the prompts and every module's eigenvectors"
    Settings = Null

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self._held: list[tuple[Tensor, Tensor, Tensor]] = []

    def begin(self, run: TrainingRun) -> None:
        """Find what harmful prompts give every module, and what the module makes of that before tuning."""
        self._held, tuned = [], _tuned(run)
        with torch.no_grad(), run.reference() as model:
            before, inner = _named(model), plain(model)
            batches = _batches(run, inner, self.settings.prompts)
            for names in _by_layer(tuned):
                modules = {name: before[name] for name in names}
                for name, covariance in _covariances(inner, batches, modules).items():
                    parameter, is_adapter = tuned[name]
                    directions = foremost(covariance, self.settings.energy).to(parameter)
                    stays = (
                        torch.zeros_like(parameter) if is_adapter else modules[name].weight.to(parameter)
                    ) @ directions
                    self._held.append((parameter, directions, stays))
        if not run.step:  # a checkpoint's weights are held already
            self._hold()

    def step(self, run: TrainingRun) -> None:
        """Take out what the step has changed of it."""
        del run
        self._hold()

    @torch.no_grad()
    def _hold(self) -> None:
        for parameter, directions, stays in self._held:
            parameter.sub_((parameter @ directions - stays) @ directions.T)


def foremost(covariance: Float[Tensor, "i i"], energy: float) -> Float[Tensor, "i k"]:
    """The fewest directions without which at most this share of the covariance's trace is left."""
    values, vectors = torch.linalg.eigh(covariance)  # from the smallest
    values = values.clamp(min=0)
    return vectors[:, int((values.cumsum(0) <= energy * values.sum()).sum()) :]


def _tuned(run: TrainingRun) -> dict[str, tuple[Tensor, bool]]:
    """By name of its module, what is tuned of it: LoRA's A, or the weight; and whether it is the former."""
    adapted = adapted_modules(run)
    if any(getattr(module.layer, "lora_magnitude_vector", None) for module in adapted):
        raise ConfigError(
            "Expected adapters whose change is B A for `null_space`, found DoRA's, which scales the whole weight. Set "
            "use_dora to false, or leave `null_space` out."
        )
    if adapted:
        return {module.name: (module.layer.lora_A[module.adapter].weight, True) for module in adapted}
    head = plain(run.model).get_output_embeddings()
    found = {
        name: (module.weight, False)
        for name, module in _named(run.model).items()
        if isinstance(module, nn.Linear) and module is not head and module.weight.requires_grad
    }
    if not found:
        raise ConfigError(
            "Expected LoRA adapters or weights of linear layers to tune, found neither. Use another kind of adapter, "
            "or leave `null_space` out."
        )
    return found


def _named(model: nn.Module) -> dict[str, nn.Module]:
    """All modules by name; an adapter's layer, not what it wraps."""
    return {clean_name(name): module for name, module in reversed(list(model.named_modules()))}


def _by_layer(names: Iterable[str]) -> list[list[str]]:
    """Together what stands in one part of a layer, so that few covariances are held at once."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    return list(groups.values())


def _batches(run: TrainingRun, model: PreTrainedModel, prompts: int) -> list[PromptBatch]:
    """The first of the malicious prompts, as they are asked."""
    openings, malicious = run.resources.openings, list(run.resources.malicious[:prompts])
    lead = openings.lead if openings else ()
    return batch_prompts(model, run.tokenizer, malicious, batch_size=_TOGETHER, lead=lead)


def _covariances(
    model: PreTrainedModel, batches: Sequence[PromptBatch], modules: Mapping[str, nn.Module]
) -> dict[str, Float[Tensor, "i i"]]:
    """The sum of x x^T over all tokens of the batches, for the inputs x of every module."""
    sums: dict[str, Tensor] = {}
    for batch in batches:
        is_token = batch.attention_mask.bool()
        handles = [
            module.register_forward_pre_hook(functools.partial(_add, sums, name, is_token))
            for name, module in modules.items()
        ]
        try:
            first_token(model, batch)
        finally:
            for handle in handles:
                handle.remove()
    return sums


def _add(sums: dict[str, Tensor], name: str, is_token: Tensor, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    states: Float[Tensor, "t i"] = inputs[0][is_token].float()
    sums[name] = sums.get(name, 0) + states.T @ states


defence = NullSpace
