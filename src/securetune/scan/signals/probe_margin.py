"""Probe margin: margin of malicious prompts, in standard deviations of the clean benign margins.

Ours: the probe's accuracy as a continuous number that does not saturate.
"""

from jaxtyping import Float
from numpy import ndarray

from securetune.models.features import Features
from securetune.scan.signals.base.interface import Baseline, PromptSignal


class ProbeMargin(PromptSignal):
    """How far from the clean benign prompts the probe places a malicious one."""

    def per_prompt(self, baseline: Baseline, now: Features, clean: Features) -> Float[ndarray, " n"]:
        """Margins, less the mean of the clean benign ones and over their standard deviation."""
        benign = baseline.benign_margins
        margins: ndarray = (baseline.probe.score(now.hidden.numpy()) - benign.mean()) / (benign.std() + 1e-9)
        return margins

    def range(self, baseline: Baseline, clean: float) -> float:
        """Down to the clean benign prompts, which lie at 0."""
        return clean


signal = ProbeMargin()
