"""Refusal steering: at inference, push the state of a middle layer towards refusing.

Source: representation engineering, Zou et al. 2023 (arXiv 2310.01405): the direction is the mean state of malicious
minus that of benign prompts, read off the model before tuning. Layer and coefficient are our choice. It does not tell
harmful from benign, so over-refusal is to be watched.
"""

import functools
from typing import Any

from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from securetune.defences.base.interface import Analysed, Defence, Settings
from securetune.defences.base.steering import shifted
from securetune.models.features import extract_layer_states
from securetune.models.reading import decoder_layers
from securetune.models.tensors import plain


class Steering(Settings):
    """Settings of refusal steering."""

    depth: float = Field(default=0.5, ge=0, le=1)
    """Which layer, from 0 (the first) to 1 (the last)."""
    coefficient: float = Field(default=0.3, gt=0)
    """How much of the difference is added at every token."""


class RefusalSteering(Defence):
    """A refusal direction added at inference."""

    title, paper = "refusal steering", "arXiv 2310.01405"
    cost = "none; an addition per token at inference"
    Settings = Steering

    def steer(self, analysed: Analysed, model: PreTrainedModel) -> None:
        """Add the direction to a layer's output."""
        layers = decoder_layers(plain(model))
        number = round(self.settings.depth * (len(layers) - 1))
        malicious, benign = (extract_layer_states(analysed.model, b) for b in (analysed.malicious, analysed.benign))
        difference = malicious[number].mean(0) - benign[number].mean(0)
        layers[number].register_forward_hook(functools.partial(_add, self.settings.coefficient * difference))


def _add(shift: Tensor, _layer: nn.Module, _inputs: object, output: Any) -> Any:
    return shifted(output, shift)


defence = RefusalSteering
