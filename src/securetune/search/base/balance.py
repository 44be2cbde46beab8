"""Balance: is the robust set one that a choice was made for, or is it empty, full or blind to a part of the model?"""

from collections.abc import Iterable

from securetune.models.topology import ModuleSet

BANDS = ("first", "second", "third", "last")
"""Quarters of the depth."""


def cautions(robust: ModuleSet, everything: ModuleSet) -> list[str]:
    """What a user must know of a robust set before relying on it, each with what to change; empty where all is well."""
    if not len(robust):
        return [
            "The robust set is EMPTY: no set that was tried keeps within search.tolerance, so a plan slows every "
            "module down alike. Lower scan.strength or raise search.tolerance."
        ]
    if len(robust) == len(everything):
        return [
            "The robust set is FULL: all modules together keep within search.tolerance, so a plan protects none. "
            "Raise scan.strength or lower search.tolerance."
        ]
    roles = _missing((ref.role for ref in everything), {ref.role for ref in robust})
    layers = 1 + max(ref.layer for ref in everything)
    band = {ref: BANDS[ref.layer * len(BANDS) // layers] for ref in everything}
    bands = _missing((band[ref] for ref in everything), {band[ref] for ref in robust})
    parts = [*(f"the role {role}" for role in roles), *(f"the {name} quarter of the layers" for name in bands)]
    if not parts:
        return []
    return [
        f"The robust set holds no module of {', '.join(parts)}: there a plan slows everything down. Where that is not "
        "wanted, lower scan.strength, raise search.tolerance, or use another search.method."
    ]


def _missing(present: Iterable[str], chosen: set[str]) -> list[str]:
    return [name for name in dict.fromkeys(present) if name not in chosen]
