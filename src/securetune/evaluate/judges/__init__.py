"""Judges: was this answer a refusal, or at least harmless?

A plug-in offers `judge`, a subclass of `Judge`. Judges are never averaged; the report says how far they agree.
"""

from securetune.base.registry import Registry

JUDGES = Registry(kind="judge", package="securetune.evaluate.judges", attribute="judge")
