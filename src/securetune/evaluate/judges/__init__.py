"""Judges: was this answer a refusal?

A plug-in is a function `judge(answer)` that returns whether the answer refuses. Judges are never averaged.
"""

from securetune.registry import Registry

JUDGES = Registry(kind="judge", package="securetune.evaluate.judges", attribute="judge")
