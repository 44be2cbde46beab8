"""SafeMERGE: after tuning, merge the modules that disagree with the alignment with those of a safety adapter.

Source: arXiv 2503.17239: SafeLoRA's cosine test; where it is below the threshold, 0.8 of the tuned and 0.2 of the
safety adapter. The safety adapter is tuned here, on the rows with safe answers, for a few steps, unless one is given;
their number and rate are our choice.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from securetune.base.places import expanded
from securetune.defences.base.alignment import adapted_modules, agreements, unaligned_weights
from securetune.defences.base.interface import WEIGHTS, Defence, Settings
from securetune.defences.base.needs import EXTRA_PASSES, LORA, SAFETY_ROWS, UNALIGNED
from securetune.defences.base.run import TrainingRun
from securetune.defences.base.safety_steps import take_safety_steps
from securetune.errors import ConfigError
from securetune.models.given import GivenContent
from securetune.models.tensors import plain

_ADAPTER = "safety"


class Merge(Settings):
    """Settings of SafeMERGE."""

    threshold: float = Field(default=0.35, ge=-1, le=1)
    """Cosine below which a module is merged."""
    safety_weight: float = Field(default=0.2, gt=0, lt=1)
    """Weight of the safety adapter; the tuned one has the rest."""
    steps: int = Field(default=50, ge=1)
    """Steps of tuning the safety adapter."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Rate of tuning it."""
    adapter: Annotated[str, GivenContent()] | None = None
    """Folder of a safety adapter that is there already, which then is not tuned."""


class SafeMerge(Defence):
    """Selective merging with a safety adapter."""

    title, paper = "SafeMERGE", "arXiv 2503.17239"
    needs, decides = (UNALIGNED, SAFETY_ROWS, LORA, EXTRA_PASSES), (WEIGHTS,)
    weights = "whole"
    cost = "none; once, a short tuning run and the unaligned model; the result is a whole model"
    Settings = Merge

    def begin(self, run: TrainingRun) -> None:
        """Find the adapters, so that what has none of the right kind is told before hours of tuning."""
        adapted_modules(run)

    def finalize(self, run: TrainingRun) -> None:
        """Tune the safety adapter, then merge."""
        disagreeing = [
            module.name
            for module, _, cosine in agreements(run, unaligned_weights(run))
            if cosine < self.settings.threshold
        ]
        tuned = {module.name: module.delta() for module in adapted_modules(run)}
        safety = self._safety_deltas(run)
        if lacking := [name for name in disagreeing if name not in safety]:
            raise ConfigError(
                f"Expected a safety adapter on the modules that the tuned one changes, found none on {lacking[0]}. "
                "Give one that was trained on the same modules."
            )
        run.merge()
        with torch.no_grad():
            for name in disagreeing:
                weight = plain(run.model).get_parameter(f"{name}.weight")
                weight.add_(self.settings.safety_weight * (safety[name] - tuned[name]))

    def _safety_deltas(self, run: TrainingRun) -> Mapping[str, Tensor]:
        model: Any = run.model
        if self.settings.adapter is None:
            self._tune_safety(run)
        else:
            model.load_adapter(str(expanded(self.settings.adapter)), _ADAPTER)
        found = {module.name: module.delta() for module in adapted_modules(run, _ADAPTER)}
        model.set_adapter("default")
        model.delete_adapter(_ADAPTER)
        return found

    def _tune_safety(self, run: TrainingRun) -> None:
        model: Any = run.model
        model.add_adapter(_ADAPTER, model.peft_config["default"])
        model.set_adapter(_ADAPTER)
        take_safety_steps(run, self.settings.steps, self.settings.learning_rate)


defence = SafeMerge
