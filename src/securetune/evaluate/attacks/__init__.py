"""Attacks: what somebody may put around a harmful prompt to have it answered.

A plug-in offers `attack`, a subclass of `Attack`. They measure how much of a model's safety is left; none is tuned to
be as strong as it can be.
"""

from securetune.base.registry import Registry

ATTACKS = Registry(kind="attack", package="securetune.evaluate.attacks", attribute="attack")
