"""Judges: was this answer a refusal, or at least harmless?

A plug-in offers `judge`, a subclass of `Judge`. Judges are never averaged; the report says how far they agree.
"""

from typing import TYPE_CHECKING

from securetune.base.registry import ClassRegistry

if TYPE_CHECKING:
    from securetune.evaluate.judges.base.interface import Judge

JUDGES: "ClassRegistry[Judge]" = ClassRegistry(
    kind="judge",
    package="securetune.evaluate.judges",
    attribute="judge",
    expects="securetune.evaluate.judges.base.interface:Judge",
)
