"""Flow: the commands that make a run or a comparison, whole or stage by stage, and its configuration."""

from pathlib import Path
from typing import Annotated, Any

import typer

from securetune.base.artifacts import STAGES
from securetune.cli.app import app
from securetune.cli.options import ConfigPath, Override, kinds_to_list, shipped_names
from securetune.cli.output import announce, say
from securetune.errors import ConfigError
from securetune.flow.stages import STAGE_FILES


@app.command(epilog="Example: securetune run run.yaml -s train.steps=50")
def run(config: ConfigPath, overrides: Override = None) -> None:
    """Do all stages of one run; finished ones are skipped."""
    _run(config, overrides, until="report")


@app.command(epilog="Example: securetune compare compare.yaml -s workers=2")
def compare(config: ConfigPath, overrides: Override = None) -> None:
    """Compare defences over models, tasks and seeds, each with its own learning rate; finished cells are skipped."""
    from securetune.compare.grid import CompareConfig, run_configs
    from securetune.config import validated
    from securetune.flow.inputs import check_inputs

    comparison = validated(CompareConfig, _settings(config, overrides), str(config))
    check_inputs(run_configs(comparison))  # before torch is loaded, so that a mistake is answered at once
    from securetune.compare.run import compare_runs

    folder = compare_runs(comparison)
    say((folder / "compare.md").read_text(encoding="utf-8"))
    say(f"Tables and figures are in {folder}")


@app.command(epilog="Example: securetune new llama-2-7b-chat run.yaml")
def new(
    name: Annotated[
        str | None,
        typer.Argument(
            autocompletion=shipped_names, help="For example llama-2-7b-chat; without a name, all are listed."
        ),
    ] = None,
    file: Annotated[Path | None, typer.Argument(help="YAML file to write.")] = None,
) -> None:
    """Write a configuration to start from, a copy of one that ships with the package."""
    from securetune.base.files import check_new_file, write_atomic
    from securetune.base.shipped import shipped_config, shipped_configs
    from securetune.config import starting_copy

    if name is None:
        for config in shipped_configs():
            say(f"{config.name:28} {config.command}")
        return
    if file is None:
        raise ConfigError(f"Expected a file to write, found none. Write for example `securetune new {name} run.yaml`.")
    check_new_file(file)
    write_atomic(file, starting_copy(name, file))
    say(f"Wrote {file}. Change it, then: {shipped_config(name).command} {file}")


@app.command("config", epilog="Example: securetune config run.yaml -s train.steps=50")
def show_config(config: ConfigPath, overrides: Override = None) -> None:
    """Print a run's or a comparison's whole configuration: bases and overrides merged, every default filled in."""
    from securetune.compare.grid import CompareConfig, dump_comparison, is_comparison, run_configs
    from securetune.config import dump_config, parse_config, validated

    raw = _settings(config, overrides)
    if is_comparison(raw):
        comparison = validated(CompareConfig, raw, str(config))
        run_configs(comparison)  # a mistake in a single cell shows here, too
        say(dump_comparison(comparison), nl=False)
    else:
        say(dump_config(parse_config(raw, str(config))), nl=False)


@app.command("list", epilog="Example: securetune list defences")
def list_plugins(
    kind: Annotated[
        str,
        typer.Argument(
            autocompletion=kinds_to_list,
            help="attacks, benchmarks, defences, judges, perturbations, searches or signals.",
        ),
    ] = "judges",
) -> None:
    """List what there is to choose from, with what each needs, costs and leaves to be set."""
    from securetune.doors.catalogue import listed

    for plugin in listed(kind):
        say("\n    ".join((plugin.name, plugin.summary, *plugin.facts)))


def _stage_command(stage: str) -> None:
    @app.command(
        name=stage,
        help=f"{STAGE_FILES.summary(stage)} Earlier stages are done first where needed.",
        epilog=f"Example: securetune {stage} run.yaml -s train.steps=50",
    )
    def command(config: ConfigPath, overrides: Override = None) -> None:
        _run(config, overrides, until=stage)


for _stage in STAGES:
    _stage_command(_stage)


@app.command("train-base", epilog="Example: securetune train-base configs/run/english-base.yaml")
def train_base(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe, such as configs/run/english-base.yaml.")],
) -> None:
    """Train a small chat model on real text from nothing, for checks without a download."""
    from securetune.testbed.config import load_recipe

    loaded = load_recipe(recipe)  # before torch is loaded, so that a mistake is answered at once
    from securetune.models.libraries import quiet_libraries
    from securetune.testbed.recipe import train_base as train

    quiet_libraries()
    losses = train(loaded)
    say(f"{loaded.output}: " + ", ".join(f"{stage} loss {loss:.3f}" for stage, loss in losses.items()))


def _run(config: Path, overrides: list[str] | None, *, until: str) -> None:
    _run_settings(_settings(config, overrides), str(config), until=until)


def _settings(config: Path, overrides: list[str] | None) -> dict[str, Any]:
    """The YAML file with the overrides applied."""
    from securetune.config import override, parsed_override, read_yaml

    raw = read_yaml(config)
    for text in overrides or []:
        override(raw, *parsed_override(text))
    return raw


def _run_settings(raw: dict[str, Any], source: str, *, until: str) -> None:
    from securetune.config import parse_config
    from securetune.flow.inputs import check_inputs

    config = parse_config(raw, source)
    check_inputs([config])  # before torch is loaded, so that a mistake is answered at once
    from securetune.flow.pipeline import run as run_pipeline
    from securetune.models.libraries import processes, quiet_libraries
    from securetune.testbed.build import resolve

    quiet_libraries()
    config = parse_config(resolve(raw, config.seed), source)
    folder = run_pipeline(config, until=until, announce=announce)
    if not processes().is_main_process:
        return
    if until == "report":
        from securetune.report.reading import read_run
        from securetune.report.terminal import print_summary

        print_summary(read_run(folder, arms=config.arms))
    else:
        say(f"Artifacts are in {folder}")
