"""Checked: what did tuning do to a model? Before and after on the same prompts, a report, and the gate's answer.

Nothing is trained and nothing scanned. `securetune.doors.checking` does the work in the check's folder, or
`securetune.doors.checking_texts` where a model is behind an endpoint.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.artifacts import CONFIG, Artifact, RunFolder
from securetune.base.places import expanded
from securetune.config import read_yaml
from securetune.doors.check import CheckConfig, Tuned, asks_endpoints, check_settings, check_usable, output_of
from securetune.doors.checking import Checking
from securetune.doors.checking_texts import TextChecking
from securetune.doors.held import Held
from securetune.doors.live import named, path_of, rows_path, tuned_paths
from securetune.errors import ArtifactError, ConfigError
from securetune.report import gate
from securetune.report.gate import Budgets
from securetune.report.reading import read_run

Announce = Callable[[Artifact, bool], None]


@dataclass(frozen=True, kw_only=True)
class Checked(Held):
    """What tuning did to a model."""

    @property
    def asr(self) -> dict[str, float]:
        """Attack success rate of every model on the harmful set where it is highest."""
        return {model.title: model.worst_asr for model in self.run.models}

    @property
    def folder(self) -> Path:
        """Where everything lies."""
        return self.run.folder.path


def check(
    model: str | Path | PreTrainedModel,
    tuned: Tuned | PreTrainedModel | PeftModel | Mapping[str, str | Path | PreTrainedModel | PeftModel],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    output: str | Path | None = None,
    task: str | Path | Iterable[Mapping[str, Any]] | None = None,
    budgets: Budgets | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Checked:
    """What did tuning do to a model? Ask it before and after, write a report, and hold the change against budgets.

    Args:
        model: folder or Hub id of the model before tuning, the endpoint that serves it (``http://host/v1#name``), or
            the model itself with its `tokenizer`.
        tuned: an adapter's folder, or a whole model's folder, Hub id or endpoint, or the model itself; several as a
            list, or by name in a mapping. Live models are saved below `output`. Where one is behind an endpoint, texts
            alone are compared.
        tokenizer: of a live `model`, with its chat template.
        output: folder for everything; ``runs/check-NAME`` by default. What is finished in it is not repeated.
        task: rows of the task that it was tuned for, which it has not been trained on: a file, dictionaries, or a data
            set of `datasets`.
        budgets: what is allowed; the gate's defaults otherwise.
        settings: further fields of a check's configuration, such as ``{"evaluate.judges": ["refusal_phrases"]}``.

    Raises:
        SecuretuneError: something cannot be used, or the models do not belong together.
    """
    models = named(tuned)
    place = output_of((settings or {}).get("output") if output is None else output, "check", models)
    check_free(str(place))
    config = check_settings(
        path_of(model, tokenizer, place),
        tuned_paths(models, place),
        output=output,
        task=None if task is None else rows_path(task, place, "task"),
        settings=settings,
    )
    check_usable(config)
    return carry_out(config, budgets or Budgets())


def carry_out(config: CheckConfig, budgets: Budgets, announce: Announce | None = None) -> Checked:
    """Do a check whose settings can be used; see `check`.

    Raises:
        SecuretuneError: see `check`.
    """
    if unknown := sorted(set(budgets.arms) - config.tuned.keys()):
        raise ConfigError(
            f"Expected `arms` of the budgets to name tuned models of {list(config.tuned)}, found {unknown}. Correct it."
        )
    check_free(config.output)
    with RunFolder(config.output, announce) as folder:
        checking = (TextChecking if asks_endpoints(config) else Checking)(config, folder)
        checking.check()
        checking.measure()
        checking.report(budgets)
    run = read_run(folder.path)
    return Checked(run=run, checks=gate.check(run, budgets), budgets=budgets)


def check_free(output: str) -> None:
    """Make sure that no run lies where the check is to be written.

    Raises:
        ArtifactError: one does.
    """
    path = expanded(output) / CONFIG
    if path.is_file() and "tuned" not in read_yaml(path):
        raise ArtifactError(
            f"Expected a new folder, or that of a check, at {output}, found a run's. Choose another output."
        )
