"""Defences: what can be done so that benign tuning does not erode safety?

A plug-in offers `defence`, a subclass of `Defence` that overrides the hooks it needs. An arm of a run is one of them,
or several joined by ``+``.
"""

from typing import Any

from securetune.registry import Registry

DEFENCES = Registry(
    kind="defence",
    package="securetune.defences",
    attribute="defence",
    not_plugins=("interface", "training", "combination", "alignment"),
)


def parts(arm: str) -> list[str]:
    """Names of the defences of an arm."""
    return [name.strip() for name in arm.split("+")]


def title(arm: str) -> str:
    """What an arm is called in tables."""
    return " + ".join(DEFENCES.get(name).title for name in parts(arm))


def is_defence(arm: str) -> bool:
    """Whether an arm is meant to protect, and no baseline."""
    found: list[Any] = [DEFENCES.get(name) for name in parts(arm)]
    return any(part.is_defence for part in found)
