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


_WITH_SAFE_ROWS = Recommendation(
    arm="safe_grad",
    why="with rows of safe answers SafeGrad and replay kept the most refusals at plain tuning's loss on both of this "
    "project's small models; SafeGrad refused fewer harmless prompts (docs/results: methods, english-methods)",
    cost="a second backward pass at every step, on safe rows",
)
_LORA = Recommendation(
    arm="ema@0.5",
    why="of what needs no safe answers, the mean of the weights (EMA) at half the rate answered the fewest harmful "
    "prompts at plain tuning's loss on real English, 6 and 1 % where plain tuning answered 52 and 12 %, one seed, a "
    "model of 4 million parameters (docs/results: english-methods); no larger model has been measured",
    cost="a copy of the trainable weights; no scan",
)
_FULL = Recommendation(
    arm="ml_lr@0.5",
    why="with all weights tuned ML-LR answered the fewest harmful prompts at plain tuning's loss, 15 % where plain "
    "tuning answered 96 and 87 %, three seeds of the embedded model (docs/results: choice-all-weights); on English the "
    "choice of modules hardly paid, and no larger model has been measured",
    cost="a scan of every module before training",
)


def recommended(*, adapter: str, has_safe_rows: bool) -> Recommendation:
    """The default of `securetune tune`.

    Args:
        adapter: ``lora`` or ``full``.
        has_safe_rows: whether there are prompts with safe answers.
    """
    if has_safe_rows:
        return _WITH_SAFE_ROWS
    return _LORA if adapter == "lora" else _FULL
