"""Defences: what can be done so that benign tuning does not erode safety?

A plug-in offers `defence`, a subclass of `Defence` that overrides the hooks it needs. An `Arm` of a run is one of them,
or several.
"""

from securetune.base.registry import Registry

DEFENCES = Registry(kind="defence", package="securetune.defences", attribute="defence")
