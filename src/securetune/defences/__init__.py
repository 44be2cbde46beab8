"""Defences: what can be done so that benign tuning does not erode safety?

A plug-in offers `defence`, a subclass of `Defence` that overrides the hooks it needs. An `Arm` of a run is one of them,
or several.
"""

from typing import TYPE_CHECKING

from securetune.base.registry import ClassRegistry

if TYPE_CHECKING:
    from securetune.defences.base.interface import Defence

DEFENCES: "ClassRegistry[Defence]" = ClassRegistry(
    kind="defence",
    package="securetune.defences",
    attribute="defence",
    expects="securetune.defences.base.interface:Defence",
)
