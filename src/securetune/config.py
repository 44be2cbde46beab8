"""Config: one YAML file describes a whole run.

Every field's docstring is its documentation; unknown fields are errors, so a typing mistake cannot be ignored.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from securetune.base.fingerprint import FilePath, PluginSettings
from securetune.data.config import DataConfig
from securetune.errors import ConfigError
from securetune.evaluate.config import EvaluateConfig, Metric, SkillMetric
from securetune.measures.kinds import KindField
from securetune.models.config import ModelConfig
from securetune.plans.plan import Regex
from securetune.scan.config import ScanConfig
from securetune.train.config import TrainConfig

Model = TypeVar("Model", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _PartConfig(_Section):
    label: str | None = None
    """Only rows with this label."""
    half: Literal["even", "odd"] | None = None
    """Only every second row, so that one file can serve training and testing."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many prompts, drawn with the run's seed."""


class PromptsConfig(_PartConfig):
    """A file of prompts, or a part of it."""

    path: FilePath
    """JSONL file with a prompt, instruction, question, text or turns field."""


class AnalysisConfig(_Section):
    """Prompts that the probe and the scan read; keep them apart from the evaluation's."""

    malicious: PromptsConfig
    benign: PromptsConfig


class SearchConfig(_Section):
    """How the robust set is found."""

    method: str = "greedy"
    """A file name of `securetune.search`."""
    tolerance: float = Field(default=0.25, gt=0)
    """Largest joint drop of the signal, as a share of its range."""


class MixedConfig(DataConfig):
    """Rows that take the place of some of the task's."""

    share: float = Field(ge=0, le=1)
    """Share of the task's training rows that they replace."""


class TaskConfig(_Section):
    """The benign task to tune on."""

    name: str = "task"
    """Name in tables."""
    train: DataConfig
    test: DataConfig | None = None
    """Held-out rows; by default `test_rows` rows are taken out of the training rows."""
    test_rows: int = Field(default=200, ge=10)
    """Number of held-out rows."""
    mixed: MixedConfig | None = None
    """Rows mixed in among the training rows, to see what a few that should be refused do."""
    metric: Metric | None = None
    """How an answer is compared with the reference; None reports the loss only."""
    pattern: Regex | None = None
    """For the metric ``pattern``: regular expression that the whole answer has to match."""

    @model_validator(mode="after")
    def _has_its_pattern(self) -> "TaskConfig":
        if (self.metric == "pattern") != (self.pattern is not None):
            raise ValueError("the metric 'pattern' and the field `pattern` need each other")
        return self


class AttackConfig(_Section):
    """An attack; its own settings stand beside its name."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    """A file name of `securetune.evaluate.attacks`."""


class BenchmarkConfig(_PartConfig):
    """A public benchmark, or a file of the user's own."""

    benchmark: str | None = None
    """A file name of `securetune.evaluate.benchmarks`."""
    path: FilePath | None = None
    """JSONL file of the prompts, or folder that holds the benchmark's; without it, the Hub."""
    revision: str | None = None
    """Commit of the benchmark on the Hub."""
    name: str | None = None
    """Name in tables; by default the benchmark's."""
    kind: KindField | None = None
    """Whether the user's own prompts should all be refused (harmful), answered (benign), or answered right (skill).

    With ``skill`` every row has the right answer in its field ``answer``."""
    metric: SkillMetric | None = None
    """How an answer to a set of skill is compared with the right one; by default ``final_number``."""
    attack: AttackConfig | None = None
    """What is put around the prompts."""

    @model_validator(mode="after")
    def _is_known(self) -> "BenchmarkConfig":
        own = (self.name, self.kind, self.path)
        if self.benchmark is None and None in own:
            raise ValueError("give either `benchmark`, a registered one, or `name`, `kind` and `path` of your own")
        if self.benchmark is not None and any(given is not None for given in (self.kind, self.label, self.metric)):
            raise ValueError("a registered benchmark has its own kind, label and metric: leave them out")
        if self.metric is not None and not (self.kind and self.kind.has_right_answers):
            raise ValueError(
                "a `metric` compares answers with right ones: give it with the kind `skill`, or leave it out"
            )
        return self


class RunConfig(_Section):
    """Everything `securetune run` needs."""

    model: ModelConfig
    output: str
    """Run folder; finished stages in it are not repeated."""
    seed: int = 0
    """Seed of prompts, draws, data order and adapters."""
    analysis: AnalysisConfig
    scan: ScanConfig = ScanConfig()
    search: SearchConfig = SearchConfig()
    defence: PluginSettings = {}
    """Settings of defences by name, for example ``{ml_lr: {sensitive_lr_mult: 0.1}}``."""
    arms: tuple[str, ...] = ("none", "ml_lr", "swat")
    """Defences to train with, several at once joined by ``+``, after ``@`` a factor on the learning rate.

    One of your own is ``path/to/mine.py:Name``. ``none`` (plain tuning) is always the first."""
    safety: DataConfig | None = None
    """Prompts with safe answers, for the defences that need them; never the evaluation's."""
    unaligned: ModelConfig | None = None
    """The model before its alignment, for the defences that need it."""
    task: TaskConfig
    train: TrainConfig = TrainConfig()
    monitor_every: int = Field(default=20, ge=0)
    """Steps between measurements of the refusal margin while tuning; 0 for none. It changes no result."""
    benchmarks: tuple[BenchmarkConfig, ...]
    evaluate: EvaluateConfig = EvaluateConfig()


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: no such file, or not a YAML mapping.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Expected a YAML file at {path}, found none ({error}). Check the path.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"Expected YAML in {path}, found: {' '.join(str(error).split())}. Correct it.") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"Expected a mapping in {path}, found {type(raw).__name__}. See configs/ for examples.")
    return raw


def validated(kind: type[Model], raw: Mapping[str, Any], source: str) -> Model:
    """Check a mapping against a configuration class.

    Raises:
        ConfigError: a field is unknown, missing or out of range; all problems are named.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"Expected a configuration in {source}, found problems: {problems}. Correct them.") from error


def override(raw: dict[str, Any], field: str, value: object) -> None:
    """Set a dotted field, such as ``train.steps``, in place."""
    *parents, last = field.split(".")
    for parent in parents:
        raw = raw.setdefault(parent, {})
    raw[last] = value


def parse_config(raw: Mapping[str, Any], source: str) -> RunConfig:
    """Validate a run's configuration; a plain string as `model` or `unaligned` is its path.

    Raises:
        ConfigError: a field is unknown, missing or out of range.
    """
    paths = {name: {"path": raw[name]} for name in ("model", "unaligned") if isinstance(raw.get(name), str)}
    return validated(RunConfig, {**raw, **paths}, source)


def dump_config(config: RunConfig) -> str:
    """The configuration as YAML with every default filled in."""
    return yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False, allow_unicode=True)
