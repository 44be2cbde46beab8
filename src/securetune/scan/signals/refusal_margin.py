"""Refusal margin: log-probability of refusing minus complying first tokens on malicious prompts, in nats.

Ours. It reads the answer, not the features: it falls when the model stops refusing, whatever a probe still sees.
"""

from jaxtyping import Float
from torch import Tensor

from securetune.scan.signals.base.interface import Baseline, LogitSignal


class RefusalMargin(LogitSignal):
    """See `Openings.margin`."""

    def of_logits(self, baseline: Baseline, logits: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
        """The margin of the model's own openings."""
        return baseline.openings.margin(logits)

    def range(self, baseline: Baseline, clean: float) -> float:
        """Down to the clean benign prompts."""
        margins = baseline.openings.margin(baseline.clean.logits)
        return float(margins[baseline.malicious].mean() - margins[~baseline.malicious].mean())


signal = RefusalMargin()
