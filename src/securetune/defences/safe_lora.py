"""SafeLoRA: after tuning, project the adapters that disagree most with the alignment's direction onto it.

Source: Hsu et al., NeurIPS 2024 (arXiv 2405.16833): C = V V^T / |V|, V the aligned minus the unaligned weight; where
the cosine of BA and C BA is low, B becomes C B.
"""

from typing import Literal

import torch
from pydantic import Field

from securetune.defences.base.alignment import adapted_modules, agreements, projected, unaligned_weights
from securetune.defences.base.interface import WEIGHTS, Defence, Settings
from securetune.defences.base.needs import LORA, UNALIGNED
from securetune.defences.base.run import TrainingRun


class Projected(Settings):
    """Settings of SafeLoRA."""

    select: Literal["number", "threshold"] = "number"
    """Project the `number` modules that disagree most, or all whose cosine is at most `threshold`."""
    number: int = Field(default=10, ge=1)
    """How many modules to project."""
    threshold: float = Field(default=0.5, ge=-1, le=1)
    """Cosine up to which a module is projected."""


class SafeLora(Defence):
    """Projection of adapters after tuning."""

    title, paper = "SafeLoRA", "arXiv 2405.16833"
    needs, decides = (UNALIGNED, LORA), (WEIGHTS,)
    weights = "whole"
    cost = "none; once, the unaligned model in memory"
    Settings = Projected

    def begin(self, run: TrainingRun) -> None:
        """Find the adapters, so that what has none of the right kind is told before hours of tuning."""
        adapted_modules(run)

    @torch.no_grad()
    def finalize(self, run: TrainingRun) -> None:
        """Project the chosen adapters."""
        settings = self.settings
        ranked = sorted(agreements(run, unaligned_weights(run)), key=lambda item: item[2])
        chosen = ranked[: settings.number] if settings.select == "number" else [
            item for item in ranked if item[2] <= settings.threshold
        ]  # fmt: skip
        for module, alignment, _ in chosen:
            module.b.copy_(projected(alignment, module.b))


defence = SafeLora
