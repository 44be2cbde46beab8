"""First-token KL: minus the KL divergence from the clean first-token distribution on malicious prompts, in nats.

Ours. It sees every change of the first token, of whatever direction. It is highest on the clean model, so its slope
there is zero and a gradient says nothing about it.
"""

from jaxtyping import Float
from numpy import ndarray

from securetune.models.features import Features
from securetune.scan.signals.base.interface import Baseline, PromptSignal


class FirstTokenKL(PromptSignal):
    """0 for a prompt whose first token is distributed as before, else negative."""

    is_even = True

    def per_prompt(self, baseline: Baseline, now: Features, clean: Features) -> Float[ndarray, " n"]:
        """KL(clean || now), negative."""
        log_clean, log_now = (features.logits.log_softmax(-1) for features in (clean, now))
        divergence: ndarray = (log_clean.exp() * (log_clean - log_now)).sum(-1).numpy()
        return -divergence

    def range(self, baseline: Baseline, clean: float) -> float:
        """The divergence of the mean benign from the mean malicious distribution."""
        rows = baseline.malicious
        malicious, benign = (baseline.clean.logits[of].softmax(-1).mean(0).log() for of in (rows, ~rows))
        return float((malicious.exp() * (malicious - benign)).sum())


signal = FirstTokenKL()
