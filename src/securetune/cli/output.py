"""Output: what do commands print, and when is that the end with an exit code?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from securetune.base.terminal import for_terminal
from securetune.flow.stages import STAGE_FILES

if TYPE_CHECKING:
    from securetune.base.artifacts import Artifact
    from securetune.report.gate import Budgets, Check

BUDGET_NOT_KEPT = 1
"""Exit code of a gate that did its work and lets the model not through."""


def hold(checks: "Sequence[Check]", budgets: "Budgets") -> None:
    """Print what a gate found, and end with its exit code."""
    from securetune.report.gate import passes

    for held in checks:
        say(held.sentence, fg=None if passes(held, budgets) else "red")
    failed = sum(not passes(held, budgets) for held in checks)
    say(f"{len(checks) - failed} of {len(checks)} checks passed.")
    if failed:
        raise typer.Exit(BUDGET_NOT_KEPT)


def announce(artifact: "Artifact", stored: bool) -> None:
    """Write the line of an artifact of a stage, and what the stage has to show."""
    say(f"{artifact.title:24} {'unchanged, skipped' if stored else f'{artifact.seconds:.1f} s'}", err=True)
    if (show := STAGE_FILES.get(artifact.stage).show) is not None:
        show(artifact)


def say(text: str, *, fg: str | None = None, err: bool = False, nl: bool = True) -> None:
    """Write to the terminal; names and answers may hold anything."""
    typer.secho(for_terminal(text), fg=fg, err=err, nl=nl)
