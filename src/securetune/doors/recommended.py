"""Recommended: which defence does measurement speak for, with what somebody has, and what does it cost?"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """A defence, and what speaks for it."""

    arm: str
    """As a configuration's `arms` name it."""
    why: str
    """What was measured, and on what."""
    cost: str
    """What it takes beyond plain tuning."""


RECOMMENDED = Recommendation(
    arm="replay",
    why="replay of safe answers kept the most refusals at plain tuning's loss on every model that was measured; on a "
    "chat model of 135 million parameters, one seed, it answered 0, 0 and 25 % of three sets where plain tuning "
    "answered 55, 85 and 62 % (docs/results: methods, real-model); no larger model has been measured",
    cost="two forward passes and a backward pass more at every step, and once the answers of the model before tuning",
)
"""The default of `securetune tune`."""
