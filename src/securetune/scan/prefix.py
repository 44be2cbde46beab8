"""Prefix: what does a perturbed layer see, without running the layers before it again?

Perturbing layer l leaves every layer before it as it was. The output of layer l - 1 is kept per batch, and on a
perturbed pass the layers up to l return it instead of computing. All the rest (masks, positions, final norm, logit
scaling) is the model's own forward pass, so the features equal the full pass's, whatever the family. Over a whole scan
this saves about half of the layers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from securetune.features import PromptBatch, first_token
from securetune.models.reading import decoder_layers


class PrefixCache:
    """The clean output of the layer before a chosen one, for every batch; memory: one hidden state per prompt token."""

    def __init__(self, model: PreTrainedModel, batches: Sequence[PromptBatch]) -> None:
        self._model, self._batches = model, batches
        self._layers = list(decoder_layers(model))
        self._outputs: list[Any] = [None] * len(batches)
        self.layer = 0

    @torch.no_grad()
    def move_to(self, layer: int) -> None:
        """Keep what enters `layer`; call it on the unperturbed model. Going forward costs the layers in between."""
        if layer < self.layer:
            self.layer, self._outputs = 0, [None] * len(self._batches)
        if layer == self.layer:
            return
        self._outputs, self.layer = [self._output(layer - 1, i) for i in range(len(self._batches))], layer

    def _output(self, layer: int, batch: int) -> Any:
        """What `layer` returns for batch number `batch`; the layers after it do not run."""
        seen: list[Any] = []
        handle = self._layers[layer].register_forward_hook(lambda _, __, output: seen.append(output))
        try:
            with self.resumed(batch), _returning(self._layers[layer + 1 :], lambda: seen[0]):
                first_token(self._model, self._batches[batch])
        finally:
            handle.remove()
        return seen[0]

    @contextmanager
    def resumed(self, batch: int) -> Iterator[None]:
        """Let the layers before the chosen one return what is kept for batch number `batch`."""
        with _returning(self._layers[: self.layer], lambda: self._outputs[batch]):
            yield


@contextmanager
def _returning(layers: Sequence[nn.Module], output: Callable[[], Any]) -> Iterator[None]:
    """Replace the layers' forward passes; other wrappers around them (accelerate's) come back afterwards."""
    wrapped = [vars(layer).get("forward") for layer in layers]
    try:
        for layer in layers:
            layer.forward = lambda *_, **__: output()
        yield
    finally:
        for layer, forward in zip(layers, wrapped, strict=True):
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward
