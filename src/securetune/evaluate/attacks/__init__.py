"""Attacks: what somebody may put around a harmful prompt to have it answered.

A plug-in offers `attack`, a subclass of `Attack`. They measure how much of a model's safety is left; none is tuned to
be as strong as it can be.
"""

from typing import TYPE_CHECKING

from securetune.base.registry import ClassRegistry

if TYPE_CHECKING:
    from securetune.evaluate.attacks.base.interface import Attack

ATTACKS: "ClassRegistry[Attack]" = ClassRegistry(
    kind="attack",
    package="securetune.evaluate.attacks",
    attribute="attack",
    expects="securetune.evaluate.attacks.base.interface:Attack",
)
