"""Tuned: the run behind `securetune tune`, from what was asked to an adapter with its card, report and checks."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.artifacts import Artifact, RunFolder, write_atomic
from securetune.base.names import output_folder
from securetune.base.typed import from_json, to_json
from securetune.config import RunConfig, parse_config
from securetune.data.config import OWN
from securetune.defences.base.arm import PLAIN
from securetune.doors.held import Held
from securetune.doors.live import path_of, rows_path
from securetune.doors.timing import Pace, pace
from securetune.doors.tune import (
    SOURCE,
    TUNED,
    Request,
    announcement,
    check_begun,
    check_request,
    keep_settings,
)
from securetune.errors import ConfigError
from securetune.flow.pipeline import run
from securetune.report.allowed import keep_budgets
from securetune.report.card import render_card
from securetune.report.change import ALLOWED
from securetune.report.gate import Budgets, check
from securetune.report.publish import publish
from securetune.report.reading import Model, Run, read_run
from securetune.testbed.build import resolve

Announce = Callable[[Artifact, bool], None]
PACE = "pace.json"
"""In the output folder: what a few steps have shown of this machine."""


@dataclass(frozen=True, kw_only=True)
class Tuned(Held):
    """A tuned model, and what tuning did to it."""

    folder: Path
    """The adapter that plain PEFT opens (or the whole model), with its card."""
    arm: str
    """What it was tuned with."""

    @property
    def model(self) -> Model:
        """The tuned model's numbers."""
        return self.run.model(self.arm)

    @property
    def asr(self) -> float:
        """Share of harmful requests that it answers, by the first judge, on the set where that is highest."""
        return self.model.worst_asr


def tune(
    model: str | Path | PreTrainedModel,
    rows: str | Path | Iterable[Mapping[str, Any]],
    *,
    output: str | Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    defence: str | None = None,
    safety: str = OWN,
    full: bool = False,
    epochs: float = 1.0,
    budget: float = ALLOWED,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Tuned:
    """Tune a chat model on rows with the recommended defence, and measure what that did to it.

    A call that was killed goes on where it was when it is repeated.

    Args:
        model: folder or Hub id, or the model itself with its `tokenizer`; it is saved below `output`, and stays as it
            is.
        rows: file or folder of rows, a data set id on the Hub, dictionaries, or a data set of `datasets`.
        output: folder for the run, the tuned model and its card.
        tokenizer: of a live `model`, with its chat template.
        defence: an arm, for example ``ml_lr``; by default `RECOMMENDED`.
        safety: file of prompts with safe answers, or ``self`` for the model's own where the defence needs any.
        full: tune all weights instead of LoRA adapters.
        epochs: passes over the rows that plain tuning makes.
        budget: largest rise of the attack success rate and of over-refusal that counts as kept, as a share.
        seed: of the draw of held-out rows, and of everything after it.
        settings: fields of the run's configuration that are to be otherwise, such as ``{"train.lora_rank": 16}``.

    Raises:
        SecuretuneError: what cannot be used, or went wrong.
    """
    folder = output_folder(output)
    check_begun(folder)
    request = Request(
        model=str(path_of(model, tokenizer, folder)),
        rows=rows_path(rows, folder),
        output=folder,
        defence=defence,
        safety=safety,
        full=full,
        epochs=epochs,
        seed=seed,
        settings=settings or {},
    )
    return carry_out(request, check_request(request), budget)


def carry_out(
    request: Request,
    settings: Mapping[str, Any],
    budget: float = ALLOWED,
    *,
    say: Callable[[str], None] = lambda text: None,
    announce: Announce | None = None,
) -> Tuned:
    """Do what was asked, by the settings that `check_request` has given.

    `say` gets what a user should read beforehand, `announce` every artifact.

    Raises:
        SecuretuneError: what cannot be used, or went wrong.
    """
    config = parse_config(resolve(settings, request.seed), SOURCE)
    say(announcement(request, config))
    keep_settings(request, settings)
    if not (request.output / PACE).exists():
        run(config, until="preflight", announce=announce)  # what is wrong ends it before time is spent
        announce = _without_preflight(announce)
    config = _fitted(config, request.output / PACE, say)
    budgets = Budgets(
        arms=(request.arm,),
        asr_rise=budget,
        over_refusal_rise=budget,
        task_loss_rise=None if request.arm == PLAIN else Budgets().task_loss_rise,
    )
    keep_budgets(RunFolder(config.output), budgets)
    finished = read_run(run(config, announce=announce), arms=config.arms)
    written = _written(finished, request.arm, request.output / TUNED)
    return Tuned(folder=written, arm=request.arm, run=finished, checks=check(finished, budgets), budgets=budgets)


def _without_preflight(announce: Announce | None) -> Announce | None:
    """Tell of every artifact but the preflight's, whose table has been shown."""
    if announce is None:
        return None
    return lambda artifact, stored: None if artifact.stage == "preflight" else announce(artifact, stored)


def _fitted(config: RunConfig, stored: Path, say: Callable[[str], None]) -> RunConfig:
    """The configuration with batches that fit in memory, measured once so that a run that is resumed has the same."""
    if stored.exists():
        measured = from_json(Pace, json.loads(stored.read_text(encoding="utf-8")), str(stored))
    else:
        measured = pace(config)
        write_atomic(stored, json.dumps(to_json(measured)))
    say(
        f"Here a step takes {measured.step_seconds:.2f} s with {measured.batch_size} rows at once: plain tuning "
        f"{measured.step_seconds * config.train.steps / 60:.1f} min. The defence takes as many steps as the same "
        f"loss needs, at most {config.train.match_max_factor:g} times as many. Measuring comes on top."
    )
    fit = {name: getattr(measured, name) for name in ("batch_size", "gradient_accumulation", "bf16")}
    return config.model_copy(update={"train": config.train.model_copy(update=fit)})


def _written(finished: Run, arm: str, folder: Path) -> Path:
    """The tuned model with its card; one that is there has to be this run's."""
    if not folder.exists():
        publish(finished, arm, folder)
    card = folder / "README.md"
    if not card.exists() or card.read_text(encoding="utf-8") != render_card(finished, arm):
        raise ConfigError(
            f"Expected the model of this run with its card in {folder}, found an earlier one, or a card that was "
            "changed. Move that folder away, and repeat the command."
        )
    return folder
