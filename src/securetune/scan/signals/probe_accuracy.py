"""Probe accuracy: share of malicious prompts on the malicious side of the probe.

Source: the paper's signal, Du et al. 2024, arXiv 2410.04524, section 3. It saturates: small changes leave it as it is.
"""

from jaxtyping import Float
from numpy import ndarray

from securetune.models.features import Features
from securetune.scan.signals.base.interface import Baseline, PromptSignal


class ProbeAccuracy(PromptSignal):
    """1 for a prompt that the probe takes for malicious, else 0."""

    def per_prompt(self, baseline: Baseline, now: Features, clean: Features) -> Float[ndarray, " n"]:
        """Whether each margin is positive."""
        right: ndarray = (baseline.probe.score(now.hidden.numpy()) > 0).astype(float)
        return right

    def range(self, baseline: Baseline, clean: float) -> float:
        """Down to no prompt at all."""
        return clean


signal = ProbeAccuracy()
