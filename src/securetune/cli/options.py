"""Options: which arguments do several commands take, and what do they refuse?"""

import math
from pathlib import Path
from typing import Annotated

import typer

from securetune.errors import ConfigError


def defences_begun(incomplete: str) -> list[str]:
    """Defences that a half-written arm may go on with."""
    from securetune.defences import DEFENCES

    before, plus, begun = incomplete.rpartition("+")
    return [f"{before}{plus}{name}" for name in DEFENCES.names() if name.startswith(begun)]


def kinds_to_list(incomplete: str) -> list[str]:
    """Kinds of plug-ins that begin so."""
    from securetune.doors.catalogue import kinds

    return [kind for kind in kinds() if kind.startswith(incomplete)]


def shipped_names(incomplete: str) -> list[str]:
    """Configurations that ship with the package and whose names begin so."""
    from securetune.base.shipped import shipped_configs

    return [config.path.stem for config in shipped_configs() if config.path.stem.startswith(incomplete)]


ConfigPath = Annotated[Path, typer.Argument(help="YAML file that describes the run; see `securetune new`.")]
Override = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override a field, for example -s train.steps=50. Repeatable.")
]
Defence = Annotated[
    str | None,
    typer.Option(autocompletion=defences_begun, help="A defence, see docs/defences.md; else the default."),
]
Push = Annotated[str | None, typer.Option(metavar="REPO_ID", help="Upload it to this repository on the Hub as well.")]
Private = Annotated[bool, typer.Option("--private", help="With --push: a repository that nobody else sees.")]


def check_repository(push: str | None, private: bool) -> None:
    """Make sure that what is asked to be pushed can be, before any work.

    Raises:
        SecuretuneError: it cannot.
    """
    if push is not None:
        from securetune.report.push import check_push

        check_push(push)
    elif private:
        raise ConfigError("Expected --push REPO_ID beside --private, found none. Add it, or leave --private out.")


def finite(number: float) -> float:
    """A number of a command line that is finite."""
    if not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number.")
    return number


def finite_above_0(number: float) -> float:
    """A number of a command line that is finite and above 0."""
    if not 0 < number < math.inf:
        raise typer.BadParameter(f"{number} is not a finite number above 0.")
    return number
