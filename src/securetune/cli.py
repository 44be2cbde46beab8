"""CLI: one subcommand per stage, in order, and the whole run.

Nothing heavy is imported before a command runs, so `--help` answers at once.
"""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from securetune.artifacts import STAGES
from securetune.errors import SecuretuneError

if TYPE_CHECKING:
    from securetune.artifacts import Artifact

app = typer.Typer(
    help="Tune on your benign data, keep your model's safety, see the proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigPath = Annotated[Path, typer.Argument(help="YAML file that describes the run; see configs/.")]
Override = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override a field, for example -s train.steps=50. Repeatable.")
]

_STAGE_HELP = {
    "topology": "Read layers and roles off the model.",
    "features": "Extract the last-token state of malicious and benign prompts.",
    "probe": "Fit the probe and test it on unseen templates and word pairs.",
    "scan": "Perturb every module alone and measure what safety loses.",
    "search": "Find the largest set of modules that is robust jointly.",
    "plan": "Write the per-module learning-rate plan of every defence.",
    "train": "Tune with every defence, at matched task loss.",
    "evaluate": "Measure safety, over-refusal and the task before and after.",
    "report": "Write the HTML report.",
}


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")] = False,
) -> None:
    """Set up logging before any command."""
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


@app.command()
def run(config: ConfigPath, overrides: Override = None) -> None:
    """Do all stages of one run; finished ones are skipped."""
    _run(config, overrides, until="report")


@app.command()
def demo(
    task: Annotated[str, typer.Argument(help="Tuning task: letters, stepwise or arithmetic.")] = "letters",
    output: Annotated[Path | None, typer.Option(help="Run folder; runs/demo-TASK by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the embedded model and of everything after it.")] = 0,
) -> None:
    """Run the whole flow on the embedded model; nothing is downloaded."""
    from securetune.testbed.demo import demo_settings

    _run_settings(demo_settings(task, output or Path("runs") / f"demo-{task}", seed), "the demo", until="report")


def _stage_command(stage: str) -> None:
    @app.command(name=stage, help=f"{_STAGE_HELP[stage]} Earlier stages are done first where needed.")
    def command(config: ConfigPath, overrides: Override = None) -> None:
        _run(config, overrides, until=stage)


for _stage in STAGES:
    _stage_command(_stage)


@app.command("train-base")
def train_base(recipe: Annotated[Path, typer.Argument(help="YAML recipe, such as configs/english-base.yaml.")]) -> None:
    """Train a small chat model on real text from nothing, for checks without a download."""
    from securetune.testbed import recipe as recipes

    _quiet()
    loaded = recipes.load_recipe(recipe)
    losses = recipes.train_base(loaded)
    typer.echo(f"{loaded.output}: " + ", ".join(f"{stage} loss {loss:.3f}" for stage, loss in losses.items()))


def _run(config: Path, overrides: list[str] | None, *, until: str) -> None:
    import yaml

    from securetune.config import override, read_yaml
    from securetune.errors import ConfigError

    raw = read_yaml(config)
    for text in overrides or []:
        field, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"Expected --set field=value, found {text!r}. Write for example -s train.steps=50.")
        override(raw, field, yaml.safe_load(value))
    _run_settings(raw, str(config), until=until)


def _run_settings(raw: dict[str, Any], source: str, *, until: str) -> None:
    from securetune.config import parse_config
    from securetune.pipeline import run as run_pipeline
    from securetune.processes import processes
    from securetune.testbed.build import resolve

    _quiet()
    config = parse_config(raw, source)
    config = parse_config(resolve(raw, config.seed), source)
    folder = run_pipeline(config, until=until, announce=_announce)
    if not processes().is_main_process:
        return
    if until == "report":
        from securetune.report.terminal import print_summary

        print_summary(folder)
    else:
        typer.echo(f"Artifacts are in {folder}")


def _announce(artifact: "Artifact", stored: bool) -> None:
    name = f"{artifact.stage} {artifact.variant or ''}".strip()
    typer.echo(f"{name:24} {'unchanged, skipped' if stored else f'{artifact.seconds:.1f} s'}", err=True)


def _quiet() -> None:
    """Keep the libraries' notices and progress bars out of the way; ours stay."""
    import warnings

    import datasets
    import transformers

    if logging.getLogger().level > logging.DEBUG:
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        datasets.disable_progress_bars()


def entry() -> None:
    """Console entry point: expected errors become one message and exit code 1."""
    try:
        app()
    except SecuretuneError as error:
        if "--debug" in sys.argv:
            raise
        typer.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(1)
