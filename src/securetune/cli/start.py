"""Start: the commands before the first run: is everything there, and what would a configuration look like?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from securetune.cli.app import NOT_DONE, app
from securetune.cli.options import Defence, Override, finite_above_0
from securetune.cli.output import say

if TYPE_CHECKING:
    from securetune.doors.doctor import Finding


@app.command(epilog="Example: securetune doctor my-model")
def doctor(
    model: Annotated[str | None, typer.Argument(help="Chat model to look at: a folder or a Hub id.")] = None,
) -> None:
    """Say which packages, devices and room there are, and whether a model would do; exit code 2 where not."""
    from securetune.doors import doctor as light

    asked = light.requirements()
    _show([*light.packages(asked), *light.extras(asked), *light.machine(Path.cwd())])  # torch may be what is missing
    if model is not None:
        _show([light.files(model)])
    try:
        from securetune.doors import doctored as heavy
    except (ImportError, OSError) as error:
        _show([light.broken(error)])
    _show(heavy.devices())
    if model is not None:
        _show(heavy.of_model(model))


@app.command(epilog="Example: securetune init my-model rows.jsonl mine.yaml --epochs 2")
def init(
    model: Annotated[str, typer.Argument(help="Chat model: a folder or a Hub id.")],
    rows: Annotated[str, typer.Argument(help="Rows to tune on: a file, or a data set id on the Hub.")],
    file: Annotated[Path, typer.Argument(help="YAML file to write.")],
    defence: Defence = None,
    safety: Annotated[str, typer.Option(help="File of prompts with safe answers; self: its own answers.")] = "self",
    full: Annotated[bool, typer.Option("--full", help="Tune all weights instead of LoRA adapters.")] = False,
    epochs: Annotated[float, typer.Option(callback=finite_above_0, help="Passes over the rows.")] = 1.0,
    overrides: Override = None,
) -> None:
    """Write a configuration for this model and these rows, with a word on every field; `run` takes it."""
    from securetune.config import parsed_override
    from securetune.doors.init import write_start
    from securetune.doors.tune import Request

    output = Path("runs") / Path(rows).stem
    settings = {"output": str(output), **dict(map(parsed_override, overrides or []))}
    request = Request(
        model=model, rows=rows, output=output, defence=defence, safety=safety, full=full, epochs=epochs,
        settings=settings,
    )  # fmt: skip
    write_start(request, file)
    say(f"Wrote {file}. Change it, then: securetune run {file}")


def _show(findings: "list[Finding]") -> None:
    """Print what was looked at, and end where work cannot be done with it."""
    for finding in findings:
        say(f"{finding.about:14} {finding.text}", fg=None if finding.is_fit else "red")
    if any(not finding.is_fit for finding in findings):
        raise typer.Exit(NOT_DONE)
