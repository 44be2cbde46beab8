"""Probe AUROC: area under the probe's ROC curve, malicious against benign.

Ours. Unlike the probe's accuracy it does not see a shift that all prompts share.
"""

from securetune.models.features import Features
from securetune.scan.signals.base.interface import Baseline, Signal


class ProbeAuroc(Signal):
    """A number of both kinds of prompts together, so no mean over malicious ones."""

    def measure(self, baseline: Baseline, now: Features) -> float:
        """The clean model's probe on the features now."""
        return baseline.probe.auroc(now.hidden.numpy(), baseline.labels)

    def range(self, baseline: Baseline, clean: float) -> float:
        """Down to chance."""
        return clean - 0.5


signal = ProbeAuroc()
