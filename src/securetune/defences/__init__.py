"""Defences: what can be done so that benign tuning does not erode safety?

A plug-in offers `defence`, an instance of a `Defence` subclass; it overrides the hooks it needs.
"""

from securetune.registry import Registry

DEFENCES = Registry(kind="defence", package="securetune.defences", attribute="defence", not_plugins=("interface",))
