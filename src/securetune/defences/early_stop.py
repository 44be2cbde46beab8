"""Early stop: plain tuning that stops at the same task loss as every other arm; a baseline.

It shows how much of a defence's effect comes from stopping at the matched loss alone.
"""

from securetune.defences.base.interface import Defence


class EarlyStop(Defence):
    """Plain tuning up to the matched loss."""

    title, paper, is_defence = "plain tuning, early stop", "baseline", False


defence = EarlyStop
