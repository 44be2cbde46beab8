"""Check: what is compared when somebody asks what tuning did to a model? Settings, and whether they can be used.

Nothing here needs torch, so that a mistake is answered at once; `securetune.doors.checked` does the work.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from securetune.base.artifacts import artifact_name
from securetune.base.names import OutputFolder, output_folder
from securetune.base.places import expanded, is_here
from securetune.base.strict import Strict
from securetune.config import AnalysisConfig, BenchmarkConfig, RunConfig, Seed, override, read_yaml, validated
from securetune.data.config import DataConfig
from securetune.defences.base.arm import BASE, PLAIN
from securetune.errors import ConfigError
from securetune.evaluate.config import EndpointConfig, EvaluateConfig, SkillMetric
from securetune.evaluate.judges.base.endpoint import check_address
from securetune.evaluate.service import service, try_out
from securetune.flow.inputs import check_files
from securetune.models.config import ModelConfig
from securetune.models.files import check_model
from securetune.models.given import GivenConfig, check_given
from securetune.models.served import address_and_name, is_served, shown
from securetune.report.gate import Budgets

_RESERVED = (BASE, PLAIN)
"""Names that a run has for models of its own."""
MARGIN = "refusal_margin"
"""The judge that looks into the model."""
_WRITTEN = "http://localhost:8000/v1#model-name"
TASK_ROWS = 200
"""Rows of a task that are read where nobody says how many."""


class CheckTaskConfig(Strict):
    """Rows of the task that the model was tuned for, which it has not been trained on."""

    rows: DataConfig
    metric: SkillMetric | None = None
    """How an answer is compared with the reference; None reports the loss only."""
    max_length: int = Field(default=512, ge=8)
    """Longest row in tokens; longer rows are cut."""


class CheckConfig(Strict):
    """Everything `securetune check` needs; a model may be an endpoint's, written ``http://host/v1#name``."""

    model: ModelConfig
    """The model before tuning."""
    tuned: Mapping[str, GivenConfig] = Field(min_length=1)
    """The tuned models by the names that tables give them."""
    output: OutputFolder = Field(min_length=1)
    """Folder of the check; what is finished in it is not repeated."""
    seed: Seed = 0
    """Seed of what is drawn of prompts and rows."""
    task: CheckTaskConfig | None = None
    analysis: AnalysisConfig = AnalysisConfig()
    """Prompts that the model's first words of refusing and of complying are read off."""
    benchmarks: tuple[BenchmarkConfig, ...] = RunConfig.model_fields["benchmarks"].default
    """What is asked before and after; by default the prompt pack, as far as `analysis` does not read it."""
    evaluate: EvaluateConfig = EvaluateConfig()
    endpoint: EndpointConfig = EndpointConfig()
    """How models are asked that are behind endpoints."""

    @field_validator("tuned")
    @classmethod
    def _has_free_names(cls, tuned: Mapping[str, GivenConfig]) -> Mapping[str, GivenConfig]:
        taken = [name for name in tuned if not name.strip() or name in _RESERVED]
        if taken:
            raise ValueError(f"call a tuned model something else than {taken[0]!r}")
        return tuned

    @field_validator("evaluate")
    @classmethod
    def _answers_here(cls, evaluate: EvaluateConfig) -> EvaluateConfig:
        if evaluate.engine != "transformers":
            raise ValueError("a check generates with `transformers`: leave `engine` out")
        return evaluate


Tuned = str | Path | Sequence[str | Path] | Mapping[str, str | Path]
"""One tuned model, several, or several by the names that tables give them."""


def check_settings(
    model: str | Path,
    tuned: Tuned,
    *,
    output: str | Path | None = None,
    task: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> CheckConfig:
    """The configuration of a check.

    Args:
        model: folder, Hub id or endpoint of the model before tuning.
        tuned: see `Tuned`; an adapter's folder, or a whole model's folder, Hub id or endpoint.
        output: folder for everything; ``runs/check-NAME`` by default, after the first tuned model.
        task: file of the task's rows; `TASK_ROWS` of them are drawn.
        settings: further fields of `CheckConfig`; a name with dots sets a field of a section.

    Raises:
        ConfigError: a field is unknown, missing or out of range.
    """
    raw = raw_settings(model, tuned, task=task)
    raw["output"] = str(output_of(output, "check", raw["tuned"]))
    set_fields(raw, settings or {}, output=output, task=task)
    return validated(CheckConfig, raw, "what is to be checked")


def raw_settings(model: str | Path, tuned: Tuned, *, task: str | Path | None) -> dict[str, Any]:
    """The models and the task of a check, as a YAML file would hold them; see `check_settings`."""
    paths = tuned if isinstance(tuned, Mapping) else free_names(tuned)
    raw: dict[str, Any] = {
        "model": {"path": str(model)},
        "tuned": {name: {"path": str(path)} for name, path in paths.items()},
    }
    if task is not None:
        raw["task"] = {"rows": {"path": str(task), "limit": TASK_ROWS}}
    return raw


def output_of(output: str | Path | None, door: str, tuned: Iterable[str]) -> Path:
    """The folder of a door; by default one that is called after the first of several tuned models.

    Raises:
        ConfigError: it is empty.
    """
    if output is not None:
        return output_folder(output)
    return Path("runs") / f"{door}-{next(iter(tuned), '').replace('/', '-')}"


def set_fields(raw: dict[str, Any], settings: Mapping[str, Any], **options: object) -> None:
    """Set further fields in place, none of which may be given as an option too; see `override`.

    Raises:
        ConfigError: one is, or cannot be set.
    """
    for field, value in settings.items():
        if options.get(field) is not None:
            raise ConfigError(f"Expected `{field}` once, found it as an option and under --set. Take one of them out.")
        override(raw, field, value)


def read_budgets(path: str | Path | None) -> Budgets:
    """The budgets in a YAML file; without one the defaults.

    Raises:
        ConfigError: no such file, or a field is unknown or out of range.
    """
    return validated(Budgets, read_yaml(path) if path else {}, str(path or "the defaults"))


def check_usable(config: CheckConfig) -> None:
    """Look at the models' folders, read the files of rows and prompts, and ask each endpoint once.

    Raises:
        SecuretuneError: the first that cannot be used.
    """
    if asks_endpoints(config):
        _check_texts(config)
    elif config.endpoint != EndpointConfig():
        raise ConfigError(
            "Expected a model behind an endpoint where `endpoint` says how such are asked, found none. Leave it out, "
            f"or name a model as {_WRITTEN}."
        )
    if not is_served(config.model.path):
        check_model(config.model.path, config.model.revision)
    for given in config.tuned.values():
        if is_served(given.path):
            continue
        if is_served(config.model.path):
            check_model(given.path, given.revision)
        else:
            check_given(given, config.model)
    rows = [] if config.task is None else [config.task.rows]
    own = [benchmark for benchmark in config.benchmarks if benchmark.benchmark is None]
    check_files(rows, [config.analysis.malicious, config.analysis.benign, *own], config.seed, set())
    _try_out(BASE, config.model.path, config)
    for name, given in config.tuned.items():
        _try_out(name, given.path, config)


def asks_endpoints(config: CheckConfig) -> bool:
    """Whether a model is behind an endpoint; then nothing is compared of any of them but what it says."""
    return is_served(config.model.path) or any(is_served(given.path) for given in config.tuned.values())


def _try_out(name: str, path: str, config: CheckConfig) -> None:
    """Ask a model behind an endpoint once, unless it is evaluated already."""
    if not is_served(path) or (expanded(config.output) / artifact_name("evaluate", name)).exists():
        return
    evaluate, variables = config.evaluate, config.model.chat_template_kwargs
    asked = service(path, config.endpoint, max_new_tokens=evaluate.max_new_tokens, variables=variables)
    try_out(asked, evaluate.system)


def _check_texts(config: CheckConfig) -> None:
    """Make sure that texts are enough for what is asked.

    Raises:
        ConfigError: an address that cannot be asked, one model twice, or something that only weights can tell.
    """
    models: list[ModelConfig | GivenConfig] = [config.model, *config.tuned.values()]
    served = [address_and_name(model.path) for model in models if _is_served_well(model)]
    if len(set(served)) < len(served):
        raise ConfigError(
            f"Expected models that differ, found the same endpoint twice in {['#'.join(one) for one in served]}. Give "
            "the model before tuning first, then the tuned one."
        )
    adapters = [given.path for given in config.tuned.values() if given.adapter is not None]
    if adapters and is_served(config.model.path):
        raise ConfigError(
            f"Expected the weights of the model before tuning, which the adapter in {adapters[0]!r} is put over, found "
            f"an endpoint, {config.model.path!r}. Give that model as a folder or Hub id, or serve the tuned one, too."
        )
    evaluate = config.evaluate
    wants_weights = {
        "task rows (task), whose loss is measured": config.task is not None,
        "refusal_margin as the only judge (evaluate.judges)": set(evaluate.judges) == {MARGIN},
        "answers that end where they are decided (evaluate.stop_when_decided)": evaluate.stop_when_decided,
    }
    for what, is_wanted in wants_weights.items():
        if is_wanted:
            raise ConfigError(
                f"Expected nothing that only a model's weights can tell, found {what}, and a model behind an endpoint, "
                "which gives whole texts alone. Leave that out, or give every model as a folder or Hub id."
            )


def _is_served_well(model: ModelConfig | GivenConfig) -> bool:
    """Whether a model is behind an endpoint, which is then one that can be asked.

    Raises:
        ConfigError: it is, and cannot be.
    """
    if not is_served(model.path):
        return False
    base, name = address_and_name(model.path)
    try:
        check_address(base)
    except ValueError as error:
        raise ConfigError(
            f"Expected an endpoint written as {_WRITTEN}, found {shown(model.path)!r}: {error}. A key belongs into the "
            "environment variable that endpoint.key_variable names."
        ) from None
    if not name.strip():
        raise ConfigError(
            f"Expected an endpoint with the model's name behind its address, as {_WRITTEN}, found {model.path!r}. Add "
            "the name that the service knows the model by."
        )
    if model.revision is not None:
        raise ConfigError(
            f"Expected no revision of the endpoint {model.path!r}, found {model.revision!r}: what it serves, whoever "
            "started it has chosen. Leave `revision` out."
        )
    return True


def free_names(tuned: str | Path | Sequence[str | Path]) -> dict[str, str]:
    """The models by as few last parts of their paths as tell them apart.

    Raises:
        ConfigError: one of them twice.
    """
    texts = [str(path) for path in ([tuned] if isinstance(tuned, str | Path) else tuned)]
    if len(set(map(os.path.normpath, texts))) < len(texts):
        found = [shown(text) if is_served(text) else text for text in texts]
        raise ConfigError(f"Expected tuned models that differ, found the same path twice in {found}. Take one out.")
    parts = [_parts(text) for text in texts]
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names) and not set(names) & set(_RESERVED):
            return dict(zip(names, texts, strict=True))
    return {text: text for text in texts}


def _parts(path: str) -> tuple[str, ...]:
    """What a model may be called after, the last part first of all; of an endpoint that is the model's name there."""
    if is_served(path):
        base, name = address_and_name(path)
        host = base.partition("://")[2].rpartition("@")[2].partition("?")[0]  # no password becomes a name
        return (host, *Path(name).parts)
    return Path(os.path.abspath(expanded(path))).parts if is_here(path) else Path(path).parts
