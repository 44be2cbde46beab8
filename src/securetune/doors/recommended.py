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
    arm="safe_grad",
    why="SafeGrad with safe answers kept nearly all refusals at plain tuning's loss on every model that was "
    "measured; on a chat model of 135 million parameters, with its own answers, one seed, it answered 0, 5 and 8 % of "
    "three sets, where plain tuning answered 55, 85 and 62 % (docs/results: methods, real-model); no larger model has "
    "been measured",
    cost="a second backward pass at every step, on safe rows, and once the answers of the model before tuning",
)
"""The default of `securetune tune`."""
