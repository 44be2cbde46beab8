"""Doors: the commands for the questions that people come with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from securetune.cli.app import app
from securetune.cli.options import Defence, Override, Private, Push, check_repository, finite_above_0
from securetune.cli.output import announce, hold, say

if TYPE_CHECKING:
    from securetune.doors.tune import Request
    from securetune.doors.tuned import Tuned


@app.command(epilog="Example: securetune check my-model my-adapter --task rows.jsonl")
def check(
    model: Annotated[str, typer.Argument(help="The model before tuning: a folder, a Hub id or an endpoint.")],
    tuned: Annotated[
        list[str], typer.Argument(help="The model after tuning, or several: adapters, whole models or endpoints.")
    ],
    output: Annotated[Path | None, typer.Option(help="Folder for everything; runs/check-TUNED by default.")] = None,
    task: Annotated[Path | None, typer.Option(help="File of the task's rows that it was not trained on.")] = None,
    budgets: Annotated[Path | None, typer.Option(help="YAML file of budgets; without one the defaults hold.")] = None,
    overrides: Override = None,
) -> None:
    """Say what tuning did to a model: a report, and exit code 1 where a budget is not kept.

    A model that vLLM, Ollama or llama.cpp serves is named by its endpoint, http://localhost:8000/v1#model-name; texts
    alone are then compared.
    """
    from securetune.config import parsed_override
    from securetune.doors.check import check_settings, check_usable, read_budgets

    settings = dict(map(parsed_override, overrides or []))
    config, allowed = check_settings(model, tuned, output=output, task=task, settings=settings), read_budgets(budgets)
    check_usable(config)  # before torch is loaded, so that a mistake is answered at once
    from securetune.doors.checked import carry_out
    from securetune.models.libraries import quiet_libraries
    from securetune.report.terminal import print_summary

    quiet_libraries()
    checked = carry_out(config, allowed, announce)
    print_summary(checked.run)
    hold(checked.checks, allowed)


@app.command(epilog="Example: securetune repair my-model my-adapter --task held-out.jsonl --output mended")
def repair(
    model: Annotated[str, typer.Argument(help="The model before tuning: a folder or a Hub id.")],
    tuned: Annotated[str, typer.Argument(help="The model after tuning: folder of an adapter, or a whole model.")],
    output: Annotated[Path | None, typer.Option(help="Folder for everything; runs/repair-TUNED by default.")] = None,
    task: Annotated[Path | None, typer.Option(help="File of the task's rows that it was not trained on.")] = None,
    budgets: Annotated[Path | None, typer.Option(help="YAML file of budgets; without one the defaults hold.")] = None,
    plan: Annotated[Path | None, typer.Option(help="A plan: also try to mend only what it holds back.")] = None,
    unaligned: Annotated[str | None, typer.Option(help="The model before its alignment, for SafeLoRA, RESTA.")] = None,
    safety_adapter: Annotated[Path | None, typer.Option(help="An adapter of safe answers, for SafeMERGE.")] = None,
    safety: Annotated[str, typer.Option(help="File of prompts with safe answers; self: the model's own.")] = "self",
    keep_best: Annotated[bool, typer.Option("--keep-best", help="Write the nearest where none keeps all.")] = False,
    overrides: Override = None,
) -> None:
    """Mend a tuned model without its rows: written where it keeps the budgets, exit code 1 where none does."""
    from securetune.config import parsed_override
    from securetune.doors.check import read_budgets
    from securetune.doors.repair import check_repairable, repair_settings

    named = {"plan": plan, "unaligned": unaligned, "safety_adapter": safety_adapter}
    settings: dict[str, object] = {name: str(value) for name, value in named.items() if value is not None}
    settings |= dict(map(parsed_override, overrides or []))
    config = repair_settings(model, tuned, output=output, task=task, safety=safety, settings=settings)
    allowed = read_budgets(budgets)
    check_repairable(config, allowed)  # before torch is loaded, so that a mistake is answered at once
    from securetune.doors.repaired import carry_out
    from securetune.models.libraries import quiet_libraries
    from securetune.report.terminal import print_models

    quiet_libraries()
    repaired = carry_out(config, allowed, announce, keep_best=keep_best)
    print_models(repaired.run)
    say(repaired.verdict)
    if repaired.folder is not None:
        say(f"Wrote {repaired.folder}")
    hold(repaired.checks, repaired.budgets)


@app.command(epilog="Example: securetune tune my-model rows.jsonl --epochs 2 --budget 0.02")
def tune(
    model: Annotated[str, typer.Argument(help="Chat model: a folder or a Hub id.")],
    rows: Annotated[str, typer.Argument(help="Rows to tune on: a file, or a data set id on the Hub.")],
    output: Annotated[Path | None, typer.Option(help="Folder for everything; runs/tune-ROWS by default.")] = None,
    defence: Defence = None,
    safety: Annotated[str, typer.Option(help="File of prompts with safe answers; self: its own answers.")] = "self",
    budget: Annotated[
        float, typer.Option(min=0, max=1, help="How much more may be answered of harmful requests, as a share.")
    ] = 0.05,
    full: Annotated[bool, typer.Option("--full", help="Tune all weights instead of LoRA adapters.")] = False,
    epochs: Annotated[float, typer.Option(callback=finite_above_0, help="Passes over the rows.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything.")] = 0,
    push: Push = None,
    private: Private = False,
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
        say(settings_text(settings), nl=False)
        return
    check_repository(push, private)
    tuned = _tuned(request, settings, budget)
    if push is not None:
        from securetune.report import push as hub

        if tuned.is_kept:
            say(f"Uploaded to {hub.push(tuned.folder, push, private=private)}")
        else:
            way = hub.by_hand(tuned.folder, push, private=private)
            say(f"Not uploaded, as a budget was not kept. All the same: {way}", err=True)
    hold(tuned.checks, tuned.budgets)


@app.command(epilog="Example: securetune demo letters --output runs/letters")
def demo(
    task: Annotated[str, typer.Argument(help="Tuning task: messages, stepwise, letters or arithmetic.")] = "messages",
    output: Annotated[Path | None, typer.Option(help="Folder for everything; runs/demo-TASK by default.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of the embedded model and of everything after it.")
    ] = 0,
) -> None:
    """Do what `tune` does on the embedded model; nothing is downloaded."""
    from securetune.doors.demo import demo_request
    from securetune.doors.tune import check_request
    from securetune.report.change import ALLOWED

    request = demo_request(task, output or Path("runs") / f"demo-{task}", seed)
    tuned = _tuned(request, check_request(request), ALLOWED)
    hold(tuned.checks, tuned.budgets)


def _tuned(request: "Request", settings: dict[str, object], budget: float) -> "Tuned":
    """Tune, and print what that did."""
    from securetune.doors.tuned import carry_out
    from securetune.models.libraries import quiet_libraries
    from securetune.report.terminal import print_summary

    quiet_libraries()
    tuned = carry_out(request, settings, budget, say=say, announce=announce)
    print_summary(tuned.run)
    say(f"Wrote {tuned.folder}")
    return tuned
