"""Results: the commands that take a finished run or its plan further, and those that make a plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from securetune.cli.app import app
from securetune.cli.options import Private, Push, check_repository, finite, finite_above_0
from securetune.cli.output import announce, hold, say
from securetune.errors import ConfigError

if TYPE_CHECKING:
    from securetune.models.topology import Topology


@app.command(epilog="Example: securetune export runs/mine/06-plan-ml_lr.json --to axolotl --output axolotl.yaml")
def export(
    file: Annotated[Path, typer.Argument(metavar="plan", help="Plan file, or the plan artifact of a run.")],
    to: Annotated[str, typer.Option(help="axolotl, nemo, torchtitan or lora (PEFT).")],
    model: Annotated[str | None, typer.Option(help="Model folder or Hub id; by default the plan's own.")] = None,
    adapter: Annotated[str, typer.Option(help="Tune lora adapters on the projections, or full weights.")] = "lora",
    learning_rate: Annotated[float, typer.Option(callback=finite_above_0, help="Rate of multiplier 1.")] = 2e-4,
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
        say(text)
    else:
        write_atomic(output, text)
        say(f"Wrote {output}")


@app.command(epilog="Example: securetune publish runs/mine ml_lr my-adapter --base-model me/my-model")
def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    arm: Annotated[str, typer.Argument(help="Which of its arms, for example ml_lr.")],
    output: Annotated[Path, typer.Argument(help="New folder for the adapter (or model) and its card.")],
    base_model: Annotated[
        str | None, typer.Option(help="Id on the Hub of the model that was tuned, where the run names a folder.")
    ] = None,
    push: Push = None,
    private: Private = False,
) -> None:
    """Copy a tuned adapter with a model card that holds the run's results, ready to be shared."""
    from securetune.report.publish import publish as publish_arm
    from securetune.report.reading import read_run

    finished = read_run(run, arms=[arm])
    check_repository(push, private)
    publish_arm(finished, arm, output, base_model)
    say(f"Wrote {output}")
    if push is not None:
        from securetune.report.push import push as push_folder

        say(f"Uploaded to {push_folder(output, push, private=private)}")


@app.command(epilog="Example: securetune gate runs/mine --budgets budgets.yaml --junit gate.xml")
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

    if junit is not None and junit == output:
        raise ConfigError(f"Expected --junit and --json to name two files, found {junit} twice. Choose another name.")
    finished = read_run(run)
    allowed = read_budgets(budgets)
    checks = gates.check(finished, allowed)
    for path, text in ((junit, gates.to_junit(checks, allowed)), (output, json.dumps(gates.to_dict(checks, allowed)))):
        if path is not None:
            write_atomic(path, text)
    for note in finished.notes:
        say(f"Note: {note}")
    hold(checks, allowed)


@app.command(epilog="Example: securetune reproduce runs/mine --output runs/mine-again")
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
    repetition = repeat(run, folder, announce=announce)
    for name, (before, now) in repetition.versions.items():
        say(f"{name} was {before} and is {now}.")
    for difference in repetition.differences:
        say(difference.sentence, fg="red")
    same = len(repetition.compared) - len(repetition.differences)
    say(f"{same} of {len(repetition.compared)} results in {repetition.folder} are equal to those of {run}.")
    if repetition.differences:
        raise typer.Exit(1)


@app.command(
    "plan-from-list",
    epilog="Example: securetune plan-from-list layers.yaml --model my-model --output plan.json --lr-mult 0.1",
)
def plan_from_list(
    file: Annotated[
        Path, typer.Argument(metavar="list", help="YAML or JSON list of layers (7), modules (3.q) or their paths.")
    ],
    model: Annotated[str, typer.Option(help="Model folder or Hub id.")],
    output: Annotated[Path, typer.Option(help="Plan file to write.")],
    lr_mult: Annotated[
        float, typer.Option(min=0, callback=finite, help="Multiplier of what is listed; 0 freezes it.")
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
    say(f"Wrote {output}")


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
