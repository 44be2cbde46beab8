"""Prefix: what does a perturbed module see, without running what comes before it again?

Perturbing a module of layer l leaves what ran before it as it was: the layers before l and, in l, the modules that had
returned when it was called. Their outputs are kept per batch from a clean pass, and on a perturbed pass they return
them instead of computing. All the rest (masks, positions, attention, final norm, logit scaling) is the model's own
forward pass, so the features equal the full pass's, whatever the family. Over a whole scan this saves about half of the
layers.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from securetune.models.features import PromptBatch, first_token
from securetune.models.reading import decoder_layers


@dataclass(frozen=True)
class _CleanLayer:
    """A clean pass of one batch through a layer. Its parts go by their names in the layer, "" is the layer itself."""

    entered: Any = None
    """What the layer before it returned."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """What each part returned."""
    earlier: dict[str, frozenset[str]] = field(default_factory=dict)
    """Part -> the parts that had returned when it was called."""


class PrefixCache:
    """A clean pass through a chosen layer, for every batch; for a Llama, ten hidden states per prompt token."""

    def __init__(self, model: PreTrainedModel, batches: Sequence[PromptBatch]) -> None:
        self._model, self._batches = model, batches
        self._layers = list(decoder_layers(model))
        self._names = {id(part): name for name, part in model.named_modules()}
        self._layer = -1
        self._clean = [_CleanLayer()] * len(batches)

    def skipping(self, layer: int, paths: Collection[str]) -> Callable[[int], AbstractContextManager[None]]:
        """Makes a context, by the batch's number, in which nothing that runs before the modules at `paths` is computed.

        Call it on the unperturbed model; `paths` are modules of `layer`. Going to a later layer than the last time
        costs the layers in between.
        """
        self._move_to(layer)
        prefix = f"{self._names[id(self._layers[layer])]}."
        return functools.partial(self._skipped, [path.removeprefix(prefix) for path in paths])

    @contextmanager
    def _skipped(self, parts: Sequence[str], batch: int) -> Iterator[None]:
        clean, layer = self._clean[batch], self._layers[self._layer]
        # Fused experts are a weight of their module, not modules.
        called = [part if part in clean.earlier else part.rpartition(".")[0] for part in parts]
        earlier = set(clean.outputs).intersection(*(clean.earlier.get(part, ()) for part in called)) if parts else ()
        with (
            _returning(lambda _: clean.entered, dict.fromkeys(self._layers[: self._layer], "")),
            _returning(clean.outputs.__getitem__, {layer.get_submodule(part): part for part in earlier}),
        ):
            yield

    @torch.no_grad()
    def _move_to(self, layer: int) -> None:
        if layer < self._layer:
            self._layer, self._clean = -1, [_CleanLayer()] * len(self._batches)
        while self._layer < layer:
            self._clean = [self._next(batch) for batch in range(len(self._batches))]
            self._layer += 1

    def _next(self, batch: int) -> _CleanLayer:
        """Run one batch through the layer after the kept one; no other layer runs."""
        entered, layer = self._clean[batch].outputs.get(""), self._layer + 1
        with (
            _recorded(self._layers[layer], entered) as clean,
            _returning(lambda _: entered, dict.fromkeys(self._layers[:layer], "")),
            _returning(clean.outputs.__getitem__, dict.fromkeys(self._layers[layer + 1 :], "")),
        ):
            first_token(self._model, self._batches[batch])
        return clean


@contextmanager
def _recorded(layer: nn.Module, entered: Any) -> Iterator[_CleanLayer]:
    """Record a pass through `layer`: of it and its parts with matrices, unless called again or written over later."""
    clean, versions, called_again = _CleanLayer(entered), dict[str, int](), set[str]()

    def called(name: str, *_: object) -> None:
        if name in clean.earlier:
            called_again.add(name)
        clean.earlier.setdefault(name, frozenset(clean.outputs))

    def returned(name: str, _part: nn.Module, _inputs: object, output: Any) -> None:
        clean.outputs[name], versions[name] = output, _version(output)

    handles = []
    for name, part in layer.named_modules():
        if any(parameter.ndim > 1 for parameter in part.parameters()):
            handles.append(part.register_forward_pre_hook(functools.partial(called, name)))
            handles.append(part.register_forward_hook(functools.partial(returned, name)))
    try:
        yield clean
    finally:
        for handle in handles:
            handle.remove()
    written_over = {name for name, output in clean.outputs.items() if _version(output) != versions[name]}
    for name in called_again | written_over - {""}:
        del clean.outputs[name]


def _version(output: Any) -> int:
    """Grows when a tensor is written over."""
    tensors = output if isinstance(output, tuple) else [output]
    return sum(tensor._version for tensor in tensors if isinstance(tensor, Tensor))


@contextmanager
def _returning(output: Callable[[str], Any], parts: Mapping[nn.Module, str]) -> Iterator[None]:
    """Let modules return what `output` has for their names instead of computing.

    Other wrappers around their forward passes (accelerate's) come back afterwards.
    """
    wrapped = {part: vars(part).get("forward") for part in parts}
    try:
        for part, name in parts.items():
            part.forward = lambda *_, name=name, **__: output(name)
        yield
    finally:
        for part, forward in wrapped.items():
            if forward is None:
                del part.forward
            else:
                part.forward = forward
