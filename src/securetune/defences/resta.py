"""RESTA: after tuning, add what alignment once added (task arithmetic).

Source: Bhardwaj et al., ACL 2024 (arXiv 2402.11746), without its optional DARE: w + gamma (aligned - unaligned).
"""

import torch
from pydantic import Field

from securetune.defences.base.alignment import paired, unaligned_weights
from securetune.defences.base.interface import WEIGHTS, Defence, Settings
from securetune.defences.base.needs import REFERENCE, UNALIGNED
from securetune.defences.base.run import TrainingRun
from securetune.models.topology import clean_name


class SafetyVector(Settings):
    """Settings of RESTA."""

    gamma: float = Field(default=0.5, gt=0)
    """How much of the alignment's change is added; our choice."""


class Resta(Defence):
    """The safety vector, added once more."""

    title, paper = "RESTA", "arXiv 2402.11746"
    needs, decides = (UNALIGNED, REFERENCE), (WEIGHTS,)
    weights = "whole"
    cost = "none; once, the unaligned model in memory; the result is a whole model"
    Settings = SafetyVector

    @torch.no_grad()
    def finalize(self, run: TrainingRun) -> None:
        """Merge the adapter and add the safety vector."""
        before = unaligned_weights(run)
        aligned = run.aligned_weights()
        run.merge()
        for name, parameter in run.model.named_parameters():
            name = clean_name(name)
            if parameter.ndim > 1:
                parameter.add_(self.settings.gamma * (aligned[name] - paired(before, name, parameter)))


defence = Resta
