"""Method: which way of scanning does `scan.method: auto` come to, and why?"""

from securetune.scan.config import ScanConfig

AUTO, EXACT, RACE = "auto", "exact", "race"


def chosen(config: ScanConfig, *, seconds: float, can_race: bool) -> tuple[str, str]:
    """The method and a sentence on it.

    Args:
        config: what is allowed for the exact scan.
        seconds: that the exact scan would take without draws beyond `config.draws`.
        can_race: whether the signal is known for every prompt.
    """
    minutes, allowed = seconds / 60, f"scan.auto_minutes ({config.auto_minutes:g})"
    told = f"The exact scan takes about {minutes:.1f} minutes here"
    if minutes <= config.auto_minutes:
        return EXACT, f"{told}, within {allowed}, so it is taken."
    if not can_race:
        return EXACT, (
            f"{told}, beyond {allowed}, and is taken all the same: the signal "
            f"{config.signal} cannot race. Lower scan.prompts or scan.draws to have it sooner."
        )
    return RACE, f"{told}, beyond {allowed}, so a race is run instead."
