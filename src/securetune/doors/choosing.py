"""Choosing: which of several mended models is to be taken? By what was measured of them alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from securetune.report.gate import Budgets, Check, checks_of, passes
from securetune.report.reading import Run


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of the mended models."""

    name: str
    is_kept: bool
    """Whether it keeps every budget; otherwise it is the one that comes nearest."""
    why: str
    """In a sentence."""


def choose(run: Run, names: Sequence[str], budgets: Budgets) -> Choice:
    """The mended model that keeps every budget and has the lowest task loss, or else comes nearest to keeping them.

    Args:
        run: the models with their numbers.
        names: the mended ones; first those that stay nearest to the tuned one.
        budgets: what is allowed.

    Raises:
        ArtifactError: one was not evaluated.
    """
    checks = {name: checks_of(run, name, budgets) for name in names}
    kept = [name for name in names if all(passes(check, budgets) for check in checks[name])]
    if not kept:
        nearest = min(names, key=lambda name: _excess(checks[name], budgets))
        why = f"None of the {len(names)} mended models passes every check; {nearest} comes nearest."
        return Choice(name=nearest, is_kept=False, why=why)
    keeping = f"{len(kept)} of the {len(names)} mended models pass{'es' if len(kept) == 1 else ''} every check"
    if run.model(kept[0]).has_task:
        best = min(kept, key=lambda name: run.model(name).loss)
        return Choice(name=best, is_kept=True, why=f"{keeping}; of these {best} has the lowest task loss.")
    why = (
        f"{keeping}; of these {kept[0]} comes first in the order in which they leave the tuning's change alone. What "
        "is left of the task was not measured: give rows of it (--task) to choose by that."
    )
    return Choice(name=kept[0], is_kept=True, why=why)


def _excess(checks: Sequence[Check], budgets: Budgets) -> float:
    """By how much the budgets that are not kept are exceeded in the worst case, all together."""
    return sum(max(0.0, check.high - check.budget) for check in checks if not passes(check, budgets))
