"""CLI: one subcommand per stage, in order, and the whole run.

Nothing heavy is imported before a command runs, so `--help` answers at once.
"""

import errno
import logging
import math
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from securetune.base.artifacts import STAGES
from securetune.base.machine import trouble
from securetune.base.terminal import LogFormatter, for_terminal
from securetune.errors import ConfigError, MachineError, SecuretuneError
from securetune.flow.stages import STAGE_FILES

if TYPE_CHECKING:
    from securetune.base.artifacts import Artifact
    from securetune.models.topology import Topology
    from securetune.report.gate import Budgets, Check

UNFORESEEN = 70
"""Exit code of a fault of ours, as ``EX_SOFTWARE`` of sysexits.h."""


class _Commands(TyperGroup):
    """The commands, whose failures are all told as ours where a caller or the machine is the cause."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Raises:
            SecuretuneError: what went wrong.
        """
        try:
            return super().invoke(ctx)
        except SecuretuneError:
            raise
        except Exception as error:
            from pydantic import ValidationError  # here, so that `--help` stays quick

            if isinstance(error, ValidationError):
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"])) or "the top"
                raise ConfigError(
                    f"Expected values for {error.title}, found a problem at {place}: {first['msg']}. Correct it."
                ) from error
            is_closed = isinstance(error, OSError) and error.errno == errno.EPIPE  # who reads our output has enough
            if is_closed or (text := trouble(error)) is None:
                raise
            raise MachineError(text) from error


app = typer.Typer(
    cls=_Commands,
    help="Tune on your benign data, keep your model's safety, see the proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

BUDGET_NOT_KEPT = 1
"""Exit code of a gate that did its work and lets the model not through."""
NOT_DONE = 2
"""Exit code of whatever could not be done as it was asked for; typer's own for a wrong usage."""

ConfigPath = Annotated[Path, typer.Argument(help="YAML file that describes the run; see `securetune new`.")]
Override = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override a field, for example -s train.steps=50. Repeatable.")
]


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number.")
    return number


def _finite_above_0(number: float) -> float:
    if not 0 < number < math.inf:
        raise typer.BadParameter(f"{number} is not a finite number above 0.")
    return number


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")] = False,
) -> None:
    """Set up logging before any command."""
    if not debug:
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns on machines without a GPU
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])


@app.command()
def run(config: ConfigPath, overrides: Override = None) -> None:
    """Do all stages of one run; finished ones are skipped."""
    _run(config, overrides, until="report")


@app.command()
def tune(
    model: Annotated[str, typer.Argument(help="Chat model: a folder or a Hub id.")],
    rows: Annotated[str, typer.Argument(help="Rows to tune on: a file, or a data set id on the Hub.")],
    output: Annotated[Path | None, typer.Option(help="Folder for everything; runs/tune-ROWS by default.")] = None,
    defence: Annotated[str | None, typer.Option(help="A defence, see docs/defences.md; else the default.")] = None,
    safety: Annotated[str | None, typer.Option(help="File of prompts with safe answers, if you have one.")] = None,
    budget: Annotated[
        float, typer.Option(min=0, max=1, help="How much more may be answered of harmful requests, as a share.")
    ] = 0.05,
    full: Annotated[bool, typer.Option("--full", help="Tune all weights instead of LoRA adapters.")] = False,
    epochs: Annotated[float, typer.Option(callback=_finite_above_0, help="Passes over the rows.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the run as YAML for `run`, do nothing.")] = False,
    overrides: Override = None,
) -> None:
    """Tune on your rows and keep the refusals: an adapter with its card and a report; exit code 1 beyond the budget."""
    from securetune.config import parsed_override
    from securetune.doors.tune import Request, check_request, settings_text

    request = Request(
        model=model, rows=rows, output=output or Path("runs") / f"tune-{Path(rows).stem}", defence=defence,
        safety=safety, full=full, epochs=epochs, seed=seed, settings=dict(map(parsed_override, overrides or [])),
    )  # fmt: skip
    settings = check_request(request)  # before torch is loaded, so that a mistake is answered at once
    if dry_run:
        _say(settings_text(settings), nl=False)
        return
    from securetune.doors.tuned import carry_out
    from securetune.models.libraries import quiet_libraries
    from securetune.report.terminal import print_summary

    quiet_libraries()
    tuned = carry_out(request, settings, budget, say=_say, announce=_announce)
    print_summary(tuned.run)
    _say(f"Wrote {tuned.folder}")
    _hold(tuned.checks, tuned.budgets)


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="The model before tuning: a folder or a Hub id.")],
    tuned: Annotated[
        list[str], typer.Argument(help="The model after tuning, or several: folders of adapters or whole models.")
    ],
    output: Annotated[Path | None, typer.Option(help="Folder for everything; runs/check-TUNED by default.")] = None,
    task: Annotated[Path | None, typer.Option(help="File of the task's rows that it was not trained on.")] = None,
    budgets: Annotated[Path | None, typer.Option(help="YAML file of budgets; without one the defaults hold.")] = None,
    overrides: Override = None,
) -> None:
    """Say what tuning did to a model: a report, and exit code 1 where a budget is not kept."""
    from securetune.config import parsed_override
    from securetune.doors.check import check_settings, check_usable, read_budgets

    settings = dict(map(parsed_override, overrides or []))
    config, allowed = check_settings(model, tuned, output=output, task=task, settings=settings), read_budgets(budgets)
    check_usable(config)  # before torch is loaded, so that a mistake is answered at once
    from securetune.doors.checked import carry_out
    from securetune.models.libraries import quiet_libraries
    from securetune.report.terminal import print_summary

    quiet_libraries()
    checked = carry_out(config, allowed, _announce)
    print_summary(checked.run)
    _hold(checked.checks, allowed)


@app.command()
def demo(
    task: Annotated[str, typer.Argument(help="Tuning task: messages, stepwise, letters or arithmetic.")] = "messages",
    output: Annotated[Path | None, typer.Option(help="Run folder; runs/demo-TASK by default.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of the embedded model and of everything after it.")
    ] = 0,
) -> None:
    """Run the whole flow on the embedded model; nothing is downloaded."""
    from securetune.testbed.demo import demo_settings

    _run_settings(demo_settings(task, output or Path("runs") / f"demo-{task}", seed), "the demo", until="report")


@app.command()
def compare(config: ConfigPath, overrides: Override = None) -> None:
    """Compare defences over models, tasks and seeds, each with its own learning rate; finished cells are skipped."""
    from securetune.compare.grid import CompareConfig, run_configs
    from securetune.config import validated
    from securetune.flow.inputs import check_inputs

    comparison = validated(CompareConfig, _settings(config, overrides), str(config))
    check_inputs(run_configs(comparison))  # before torch is loaded, so that a mistake is answered at once
    from securetune.compare.run import compare_runs

    folder = compare_runs(comparison)
    _say((folder / "compare.md").read_text(encoding="utf-8"))
    _say(f"Tables and figures are in {folder}")


@app.command()
def new(
    name: Annotated[
        str | None, typer.Argument(help="For example llama-2-7b-chat; without a name, all are listed.")
    ] = None,
    file: Annotated[Path | None, typer.Argument(help="YAML file to write.")] = None,
) -> None:
    """Write a configuration to start from, a copy of one that ships with the package."""
    from securetune.base.artifacts import write_atomic
    from securetune.base.shipped import shipped_config, shipped_configs
    from securetune.config import starting_copy

    if name is None:
        for config in shipped_configs():
            _say(f"{config.name:28} {config.command}")
        return
    if file is None:
        raise ConfigError(f"Expected a file to write, found none. Write for example `securetune new {name} run.yaml`.")
    if file.exists():
        raise ConfigError(f"Expected a new file, found {file} there already. Choose another name.")
    if not file.parent.is_dir():
        raise ConfigError(f"Expected a folder at {file.parent}, found none. Make it first.")
    write_atomic(file, starting_copy(name, file))
    _say(f"Wrote {file}. Change it, then: {shipped_config(name).command} {file}")


@app.command("config")
def show_config(config: ConfigPath, overrides: Override = None) -> None:
    """Print a run's or a comparison's whole configuration: bases and overrides merged, every default filled in."""
    from securetune.compare.grid import CompareConfig, dump_comparison, is_comparison, run_configs
    from securetune.config import dump_config, parse_config, validated

    raw = _settings(config, overrides)
    if is_comparison(raw):
        comparison = validated(CompareConfig, raw, str(config))
        run_configs(comparison)  # a mistake in a single cell shows here, too
        _say(dump_comparison(comparison), nl=False)
    else:
        _say(dump_config(parse_config(raw, str(config))), nl=False)


@app.command("list")
def list_plugins(
    kind: Annotated[
        str, typer.Argument(help="attacks, benchmarks, defences, judges, perturbations, searches or signals.")
    ] = "judges",
) -> None:
    """List what there is to choose from, with what each needs, costs and leaves to be set."""
    from securetune.doors.catalogue import listed

    for plugin in listed(kind):
        _say("\n    ".join((plugin.name, plugin.summary, *plugin.facts)))


def _stage_command(stage: str) -> None:
    @app.command(name=stage, help=f"{STAGE_FILES.summary(stage)} Earlier stages are done first where needed.")
    def command(config: ConfigPath, overrides: Override = None) -> None:
        _run(config, overrides, until=stage)


for _stage in STAGES:
    _stage_command(_stage)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="plan", help="Plan file, or the plan artifact of a run.")],
    to: Annotated[str, typer.Option(help="axolotl, nemo, torchtitan or lora (PEFT).")],
    model: Annotated[str | None, typer.Option(help="Model folder or Hub id; by default the plan's own.")] = None,
    adapter: Annotated[str, typer.Option(help="Tune lora adapters on the projections, or full weights.")] = "lora",
    learning_rate: Annotated[float, typer.Option(callback=_finite_above_0, help="Rate of multiplier 1.")] = 2e-4,
    output: Annotated[Path | None, typer.Option(help="YAML file to write; by default to the terminal.")] = None,
) -> None:
    """Write a plan for another trainer, checked against that trainer's own rule of matching."""
    import yaml

    from securetune.base.artifacts import write_atomic
    from securetune.plans.export import FORMATS, adapter_names
    from securetune.plans.plan import Plan

    if to not in FORMATS or adapter not in ("lora", "full"):
        raise ConfigError(
            f"Expected --to one of {sorted(FORMATS)} and --adapter lora or full, found {to!r} and {adapter!r}. "
            "Choose of these."
        )
    plan = Plan.load(file)
    topology, names = _skeleton(model or plan.model.id)
    plan.check_model(topology.fingerprint())
    parameters = names if adapter == "full" else adapter_names(topology)
    text = yaml.safe_dump(
        FORMATS[to](plan, topology, parameters, learning_rate=learning_rate), sort_keys=False, width=1000
    )
    if output is None:
        _say(text)
    else:
        write_atomic(output, text)
        _say(f"Wrote {output}")


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    arm: Annotated[str, typer.Argument(help="Which of its arms, for example ml_lr.")],
    output: Annotated[Path, typer.Argument(help="New folder for the adapter (or model) and its card.")],
    base_model: Annotated[
        str | None, typer.Option(help="Id on the Hub of the model that was tuned, where the run names a folder.")
    ] = None,
) -> None:
    """Copy a tuned adapter with a model card that holds the run's results, ready to be shared."""
    from securetune.report.publish import publish as publish_arm
    from securetune.report.reading import read_run

    publish_arm(read_run(run, arms=[arm]), arm, output, base_model)
    _say(f"Wrote {output}")


@app.command()
def gate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    budgets: Annotated[Path | None, typer.Option(help="YAML file of budgets; without one the defaults hold.")] = None,
    junit: Annotated[Path | None, typer.Option(help="JUnit file to write, for CI services.")] = None,
    output: Annotated[Path | None, typer.Option("--json", help="JSON file to write.")] = None,
) -> None:
    """Hold a run's tuned models against safety budgets; exit code 1 where one is not kept, 2 for an error."""
    import json

    from securetune.base.artifacts import write_atomic
    from securetune.doors.check import read_budgets
    from securetune.report import gate as gates
    from securetune.report.reading import read_run

    finished = read_run(run)
    allowed = read_budgets(budgets)
    checks = gates.check(finished, allowed)
    for path, text in ((junit, gates.to_junit(checks, allowed)), (output, json.dumps(gates.to_dict(checks, allowed)))):
        if path is not None:
            write_atomic(path, text)
    _hold(checks, allowed)


@app.command()
def reproduce(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    output: Annotated[Path | None, typer.Option(help="Folder of the repetition; RUN-again by default.")] = None,
) -> None:
    """Repeat a run from its folder and say what comes out differently; exit code 1 where anything does."""
    from securetune.flow.reproduce import check_run
    from securetune.flow.reproduce import reproduce as repeat

    beside = run if run.name else run.resolve()
    folder = output or beside.parent / f"{beside.resolve().name}-again"
    check_run(run, folder)  # before torch is loaded, so that a mistake is answered at once
    from securetune.models.libraries import quiet_libraries

    quiet_libraries()
    repetition = repeat(run, folder, announce=_announce)
    for name, (before, now) in repetition.versions.items():
        _say(f"{name} was {before} and is {now}.")
    for difference in repetition.differences:
        _say(difference.sentence, fg="red")
    same = len(repetition.compared) - len(repetition.differences)
    _say(f"{same} of {len(repetition.compared)} results in {repetition.folder} are equal to those of {run}.")
    if repetition.differences:
        raise typer.Exit(1)


@app.command("plan-from-list")
def plan_from_list(
    file: Annotated[
        Path, typer.Argument(metavar="list", help="YAML or JSON list of layers (7), modules (3.q) or their paths.")
    ],
    model: Annotated[str, typer.Option(help="Model folder or Hub id.")],
    output: Annotated[Path, typer.Option(help="Plan file to write.")],
    lr_mult: Annotated[
        float, typer.Option(min=0, callback=_finite, help="Multiplier of what is listed; 0 freezes it.")
    ] = 0.0,
) -> None:
    """Make a plan that holds back a published list of layers or modules."""
    from securetune.base.texts import LARGEST_YAML, parse_yaml, read_text
    from securetune.plans import export as exchange
    from securetune.plans.plan import PlanModel

    text = read_text(file, "a YAML or JSON list", ConfigError, largest=LARGEST_YAML)
    entries = parse_yaml(text, str(file), ConfigError)
    if not isinstance(entries, list):
        raise ConfigError(f"Expected a list in {file}, found {type(entries).__name__}. Write for example [6, 7, 8].")
    topology, _ = _skeleton(model)
    made_for = PlanModel(id=model, fingerprint=topology.fingerprint())
    exchange.plan_from_list(entries, topology, made_for, lr_mult=lr_mult).save(output)
    _say(f"Wrote {output}")


def _skeleton(model: str) -> "tuple[Topology, list[str]]":
    """A model's topology and parameter names, without its weights."""
    from securetune.models.config import ModelConfig
    from securetune.models.files import check_model

    check_model(model)  # before torch is loaded, so that a mistake is answered at once
    from securetune.models.libraries import quiet_libraries
    from securetune.models.loading import load_skeleton
    from securetune.models.reading import read_topology

    quiet_libraries()
    skeleton = load_skeleton(ModelConfig(path=model))
    return read_topology(skeleton), [name for name, _ in skeleton.named_parameters()]


@app.command("train-base")
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
    _say(f"{loaded.output}: " + ", ".join(f"{stage} loss {loss:.3f}" for stage, loss in losses.items()))


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
    folder = run_pipeline(config, until=until, announce=_announce)
    if not processes().is_main_process:
        return
    if until == "report":
        from securetune.report.reading import read_run
        from securetune.report.terminal import print_summary

        print_summary(read_run(folder, arms=config.arms))
    else:
        _say(f"Artifacts are in {folder}")


def _hold(checks: "Sequence[Check]", budgets: "Budgets") -> None:
    """Print what a gate found, and end with its exit code."""
    from securetune.report.gate import passes

    for held in checks:
        _say(held.sentence, fg=None if passes(held, budgets) else "red")
    failed = sum(not passes(held, budgets) for held in checks)
    _say(f"{len(checks) - failed} of {len(checks)} checks passed.")
    if failed:
        raise typer.Exit(BUDGET_NOT_KEPT)


def _announce(artifact: "Artifact", stored: bool) -> None:
    _say(f"{artifact.title:24} {'unchanged, skipped' if stored else f'{artifact.seconds:.1f} s'}", err=True)
    if (show := STAGE_FILES.get(artifact.stage).show) is not None:
        show(artifact)


def _say(text: str, *, fg: str | None = None, err: bool = False, nl: bool = True) -> None:
    """Write to the terminal; names and answers may hold anything."""
    typer.secho(for_terminal(text), fg=fg, err=err, nl=nl)


def entry() -> None:
    """Console entry point: every failure becomes one message; what a caller or the machine causes has exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know less than UTF-8
    try:
        app()
    except SecuretuneError as error:
        _fail(f"Error: {error}", NOT_DONE)
    except Exception as error:
        _fail(
            f"Error: Expected this to work or to be refused, found {type(error).__name__}: {error}. This is a fault in "
            "securetune or in a library below it: run it again with --debug, as `securetune --debug COMMAND`, and "
            "report what it shows.",
            UNFORESEEN,
        )


def _fail(message: str, code: int) -> NoReturn:
    if "--debug" in sys.argv:
        _say(traceback.format_exc(), err=True)
    _say(message, fg="red", err=True)
    sys.exit(code)
