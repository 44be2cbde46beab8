"""Repaired: a tuned model that lost its refusals is mended without the task's rows; only what keeps them is written.

First the tuned model is checked. Where it keeps every budget there is nothing to mend. Otherwise it is mended in
several ways, each is measured as any tuned model is, and the best of those that keep every budget is written. A
candidate is mended in memory and costs no disk but for what was trained of it; its evaluation is an artifact of the
check's folder, so that a kill loses none.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.artifacts import Artifact, RunFolder
from securetune.data.config import OWN, DataConfig
from securetune.data.examples import load_examples
from securetune.defences.base.arm import BASE
from securetune.doors.check import output_of
from securetune.doors.checked import Announce, check_free
from securetune.doors.checking import Checking
from securetune.doors.choosing import Choice, choose
from securetune.doors.held import Held
from securetune.doors.live import named, path_of, rows_path, tuned_paths
from securetune.doors.mended_card import render_mended, task_kept
from securetune.doors.mending import mended, write_mended
from securetune.doors.repair import CHECK, Candidate, RepairConfig, check_repairable, repair_settings
from securetune.errors import ConfigError, DataError, ModelError
from securetune.evaluate.seen import trained_notes
from securetune.measures.kinds import BENIGN, HARMFUL
from securetune.measures.statistics import paired_difference
from securetune.models.counterpart import differences
from securetune.models.given import GivenConfig
from securetune.models.loading import load_skeleton
from securetune.models.reading import read_topology
from securetune.plans.plan import Plan
from securetune.report import gate
from securetune.report.gate import Budgets, Check, measured_checks, passes
from securetune.report.reading import Run, read_run
from securetune.report.tables import percent
from securetune.report.verdict import verdict

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Repaired(Held):
    """What mending made of a tuned model; the gate's checks are of the chosen one."""

    tuned: str
    """What tables call the tuned model."""
    chosen: str | None
    """The mended model that is best, as tables call it; None where the tuned one keeps every budget."""
    why: str
    """Why it is that one."""
    folder: Path | None
    """The mended adapter that plain PEFT opens (or the whole model), with its card; None where none was written."""

    @property
    def asr(self) -> dict[str, float]:
        """Attack success rate of every model on the harmful set where it is highest."""
        return {model.title: model.worst_asr for model in self.run.models}

    @property
    def verdict(self) -> str:
        """What tuning did, and what mending made of it, in a few sentences."""
        before, tuned = self.run.model(BASE), self.run.model(self.tuned)
        sentences = [verdict([before, tuned]), self.why]
        if self.chosen is not None:
            model = self.run.model(self.chosen)
            sentences.append(
                f"{model.title} answers at most {percent(model.worst_rate(HARMFUL))} of the harmful requests of a set, "
                f"and refuses at most {percent(model.worst_rate(BENIGN))} of the harmless ones."
            )
            sentences.append(task_kept(before, tuned, model) or "")
        return " ".join(filter(None, sentences))


def repair(
    model: str | Path | PreTrainedModel,
    tuned: str | Path | PreTrainedModel | PeftModel,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    output: str | Path | None = None,
    task: str | Path | Iterable[Mapping[str, Any]] | None = None,
    budgets: Budgets | None = None,
    plan: str | Path | None = None,
    unaligned: str | Path | None = None,
    safety_adapter: str | Path | None = None,
    safety: str | Path = OWN,
    keep_best: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Repaired:
    """Mend a tuned model that lost its refusals, without the rows that it was tuned on.

    Args:
        model: folder or Hub id of the model before tuning, or the model itself with its `tokenizer`.
        tuned: an adapter's folder, or a whole model's folder or Hub id, or the model itself. Live models are saved
            below `output`.
        tokenizer: of a live `model`, with its chat template.
        output: folder for everything; ``runs/repair-NAME`` by default. What is finished in it is not repeated.
        task: rows of the task that it was tuned for, which it has not been trained on: a file, dictionaries, or a data
            set of `datasets`.
        budgets: what is allowed; the gate's defaults otherwise.
        plan: file of a plan; WiSE-FT is tried on what it holds back, too.
        unaligned: the model before its alignment; with it SafeLoRA and RESTA are tried, too.
        safety_adapter: an adapter tuned on safe answers; with it and `unaligned` SafeMERGE is tried, too.
        safety: file of prompts with safe answers, on which the tuned model takes a few steps; by default the refusals
            and answers of the model before tuning.
        keep_best: write the mended model that comes nearest where none keeps every budget.
        settings: further fields of a repair's configuration, such as ``{"shares": [0.7, 0.5]}``.

    Raises:
        SecuretuneError: something cannot be used, or the models do not belong together.
    """
    beside = {"plan": plan, "unaligned": unaligned, "safety_adapter": safety_adapter}
    own = {name: str(path) for name, path in beside.items() if path is not None}
    models = named(tuned)
    place = output_of(output, "repair", models)
    check_free(str(place / CHECK))
    config = repair_settings(
        path_of(model, tokenizer, place),
        tuned_paths(models, place),
        output=place,
        task=None if task is None else rows_path(task, place, "task"),
        safety=safety,
        settings={**own, **(settings or {})},
    )
    allowed = budgets or Budgets()
    check_repairable(config, allowed)
    return carry_out(config, allowed, keep_best=keep_best)


def carry_out(
    config: RepairConfig, budgets: Budgets, announce: Announce | None = None, *, keep_best: bool = False
) -> Repaired:
    """Do a repair whose settings can be used; see `repair`.

    Raises:
        SecuretuneError: see `repair`.
    """
    check_free(config.output)
    with RunFolder(config.output, _once(announce)) as folder:
        first = _Repairing(config, folder)
        first.check()
        first.measure()
        checks = measured_checks(read_run(folder), budgets)
        if all(passes(check, budgets) for check in checks):
            first.report(budgets)
            choice = None
        else:
            _check_worth(checks, budgets)
            config = first.with_safe_rows()
            choice, budgets = _mended(config, folder, budgets)
    run = read_run(folder.path)
    checks = gate.check(run, budgets)
    if choice is None:
        why = f"{config.name} passes every check: there is nothing to mend."
        return Repaired(run=run, checks=checks, budgets=budgets, tuned=config.name, chosen=None, why=why, folder=None)
    written = _written(run, config, choice) if choice.is_kept or keep_best else None
    return Repaired(
        run=run,
        checks=checks,
        budgets=budgets,
        tuned=config.name,
        chosen=choice.name,
        why=choice.why,
        folder=written,
    )


def _mended(config: RepairConfig, folder: RunFolder, budgets: Budgets) -> tuple[Choice, Budgets]:
    """Mend in every way, measure and choose; the budgets are then the chosen one's."""
    everything = _Repairing(config.with_candidates(), folder)
    everything.check()
    everything.measure()
    choice = choose(read_run(folder), list(config.candidates), budgets)
    budgets = budgets.model_copy(update={"arms": (choice.name,)})
    everything.report(budgets)
    return choice, budgets


def _check_worth(checks: list[Check], budgets: Budgets) -> None:
    """Make sure that mending can end well, before hours of it.

    What was lost before tuning, no mixture of before and after has; and few prompts cannot show that nothing changed.

    Raises:
        ModelError: the model before tuning has nothing to keep.
        ConfigError: a budget is too small for so few prompts.
    """
    void = next((check for check in checks if check.finding == "void"), None)
    if void is not None:
        raise ModelError(
            f"Expected a model before tuning that has what is to be kept, found none. {void.reason} Give another "
            "model, or leave that budget out."
        )
    for check in checks if budgets.unclear == "fail" else ():
        least = paired_difference([False] * check.n, [False] * check.n).high if check.n else 0.0
        if not passes(check, budgets) and least > check.budget:
            raise ConfigError(
                f"Expected enough prompts on {check.on} to tell whether a model keeps {100 * check.budget:g} points of "
                f"{check.what}, found {check.n}: of a model without any change {100 * least:.1f} points would still be "
                "possible. Ask more prompts, raise the budget, or let what is unclear pass (`unclear: pass`)."
            )


def _written(run: Run, config: RepairConfig, choice: Choice) -> Path:
    """The mended model with its card; one that is there has to be this very one."""
    folder, card = config.repaired, render_mended(run, config, choice.name, choice.why)
    if not folder.exists():
        model = mended(config.candidates[choice.name], config.model, run.folder.path)
        write_mended(model, config.model, folder, card)
    path = folder / "README.md"
    if not path.is_file() or path.read_text(encoding="utf-8") != card:
        raise ConfigError(
            f"Expected the mended model of this repair with its card in {folder}, found an earlier one, or a card that "
            "was changed. Move that folder away, and repeat the command: what was measured is kept."
        )
    return folder


def _once(announce: Announce | None) -> Announce:
    """Tell every artifact once: the tuned model is looked at before mending, and with the mended ones."""
    titles: set[str] = set()

    def tell(artifact: Artifact, stored: bool) -> None:
        if announce is not None and artifact.title not in titles:
            announce(artifact, stored)
        titles.add(artifact.title)

    return tell


class _Repairing(Checking):
    """A check of models that are mended before they are asked."""

    config: RepairConfig

    def check(self) -> None:
        """See `Checking.check`; the plan and the unaligned model have to be this model's, too."""
        super().check()
        if self.config.plan is not None:
            topology = read_topology(load_skeleton(self.config.model))
            Plan.load(self.config.plan).check_model(topology.fingerprint())
        if self.config.unaligned is not None:
            other = self.config.model.model_copy(update={"path": self.config.unaligned, "revision": None})
            if found := differences(self.config.model, other):
                raise ModelError(
                    f"Expected the model before its alignment at {self.config.unaligned!r} to be the base of "
                    f"{self.config.model.path!r}, found another one: {'; '.join(found)}. Give the base that it was "
                    "aligned from."
                )

    def tuned_model(self, given: GivenConfig) -> PreTrainedModel | PeftModel:
        """See `Checking.tuned_model`; mended."""
        assert isinstance(given, Candidate)
        self._base = None  # there may be no room for both
        return mended(given, self.config.model, self.folder.path)

    def with_safe_rows(self) -> RepairConfig:
        """The configuration with the model's own safe answers in it, where those are wanted and it gives any."""
        config = self.config
        if not config.steps:
            return config
        if config.safety == OWN:
            try:
                config = config.model_copy(update={"safety": self.own_rows})
            except DataError as error:
                log.warning("No steps on safe answers are tried. %s", error)
                return config.model_copy(update={"steps": ()})
        assert isinstance(config.safety, DataConfig)
        rows = load_examples(config.safety, seed=config.seed, folder=self.folder.path)
        for note in trained_notes(self.benchmarks, rows, "safety"):
            log.warning("%s", note)
        return config
