"""Matching: when do two tuned models count as equally good at the task?

A defence that learns less also forgets less; safety is only comparable at equal task loss.
"""

from dataclasses import dataclass

TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class LossTarget:
    """The held-out loss an arm has to reach to be comparable with plain tuning."""

    start: float
    """Held-out loss before tuning, in nats per answer token."""
    plain: float
    """Held-out loss after plain tuning."""

    @property
    def slack(self) -> float:
        """How far above plain tuning's loss still counts as matched, in nats.

        `TOLERANCE` of the loss, or of what plain tuning gained where that is less: on a task with a small gain the
        model before tuning would otherwise count as matched.
        """
        return TOLERANCE * min(self.plain, max(self.start - self.plain, 0.0))

    def is_learned(self, loss: float) -> bool:
        """Whether a loss is low enough to count: at most `slack` above plain tuning's."""
        return loss <= self.plain + self.slack

    def is_matched(self, loss: float) -> bool:
        """Whether a loss counts as plain tuning's: at most `slack` above it, at most `TOLERANCE` of it below."""
        return self.plain * (1 - TOLERANCE) <= loss and self.is_learned(loss)

    def is_reached(self, loss: float) -> bool:
        """Whether training may stop: half the slack is kept for rounding."""
        return loss <= self.plain + self.slack / 2
