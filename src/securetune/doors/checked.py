"""Checked: what did tuning do to a model? Before and after on the same prompts, a report, and the gate's answer.

Nothing is trained and nothing scanned. `securetune.doors.checking` does the work in the check's folder, or
`securetune.doors.checking_texts` where a model is behind an endpoint.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securetune.base.artifacts import CONFIG, Artifact, RunFolder
from securetune.base.places import expanded
from securetune.config import read_yaml
from securetune.doors.check import CheckConfig, Tuned, asks_endpoints, check_settings, check_usable
from securetune.doors.checking import Checking
from securetune.doors.checking_texts import TextChecking
from securetune.doors.held import Held
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
    model: str | Path,
    tuned: Tuned,
    *,
    output: str | Path | None = None,
    task: str | Path | None = None,
    budgets: Budgets | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Checked:
    """What did tuning do to a model? Ask it before and after, write a report, and hold the change against budgets.

    Args:
        model: folder or Hub id of the model before tuning, or the endpoint that serves it (``http://host/v1#name``).
        tuned: an adapter's folder, or a whole model's folder, Hub id or endpoint; several as a list, or by name in a
            mapping. Where one is behind an endpoint, texts alone are compared.
        output: folder for everything; ``runs/check-NAME`` by default. What is finished in it is not repeated.
        task: file of rows of the task that it was tuned for, which it has not been trained on.
        budgets: what is allowed; the gate's defaults otherwise.
        settings: further fields of a check's configuration, such as ``{"evaluate.judges": ["refusal_phrases"]}``.

    Raises:
        SecuretuneError: something cannot be used, or the models do not belong together.
    """
    config = check_settings(model, tuned, output=output, task=task, settings=settings)
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
