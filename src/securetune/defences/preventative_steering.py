"""Preventative steering: while tuning, a middle layer is pushed the way that tuning would drift; nothing at inference.

Source: persona vectors, Chen et al. 2025 (arXiv 2507.21509), preventative steering: what the push already does need not
be learned, and is gone without it. The paper reads its vector off answers that show an unwanted trait; here there are
none, so it is the mean state of malicious minus that of benign prompts before tuning. Layer and coefficient are our
choice.
"""

import functools
from typing import Any

from pydantic import Field
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from securetune.defences.base.interface import Defence, Settings
from securetune.defences.base.needs import PROMPTS, REFERENCE
from securetune.defences.base.run import TrainingRun
from securetune.defences.base.steering import shifted
from securetune.models.reading import decoder_layers
from securetune.models.tensors import plain


class Push(Settings):
    """Settings of preventative steering."""

    depth: float = Field(default=0.5, ge=0, le=1)
    """Which layer, from 0 (the first) to 1 (the last)."""
    coefficient: float = Field(default=-0.5)
    """How much of the difference is added at every token; below 0 towards complying."""


class PreventativeSteering(Defence):
    """A direction added in training only."""

    title, paper = "preventative steering", "arXiv 2507.21509"
    needs = (REFERENCE, PROMPTS)
    weights = "none"
    cost = "an addition per token"
    Settings = Push

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self._hook: RemovableHandle | None = None

    def begin(self, run: TrainingRun) -> None:
        """Read the direction off the model before tuning, and push."""
        layers = decoder_layers(plain(run.model))
        number = round(self.settings.depth * (len(layers) - 1))
        malicious, benign = (run.prompt_states(p)[number] for p in (run.resources.malicious, run.resources.benign))
        shift = self.settings.coefficient * (malicious.mean(0) - benign.mean(0))
        self._hook = layers[number].register_forward_hook(functools.partial(_push, shift))

    def finalize(self, run: TrainingRun) -> None:
        """Leave the model as it is used."""
        del run
        if self._hook is not None:
            self._hook.remove()


def _push(shift: Tensor, layer: nn.Module, _inputs: object, output: Any) -> Any:
    """Shift the state in training alone: what is measured meanwhile is the model as it is used."""
    return shifted(output, shift) if layer.training else output


defence = PreventativeSteering
