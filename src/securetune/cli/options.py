"""Options: which arguments do several commands take, and what do they refuse?"""

import math
from pathlib import Path
from typing import Annotated

import typer

ConfigPath = Annotated[Path, typer.Argument(help="YAML file that describes the run; see `securetune new`.")]
Override = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override a field, for example -s train.steps=50. Repeatable.")
]


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
