"""Config: what does a run's YAML file say, together with the files that it builds on?

Every field's docstring is its documentation; unknown fields are errors, so a typing mistake cannot be ignored.
"""

import copy
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticUndefined, to_jsonable_python

from securetune.base.fingerprint import FilePath, PluginSettings
from securetune.base.names import Name, OutputFolder
from securetune.base.patterns import Regex
from securetune.base.places import SHIPPED
from securetune.base.problems import misread, near_field, section_of
from securetune.base.shipped import configs_folder, shipped_config
from securetune.base.strict import Strict
from securetune.base.texts import LARGEST_YAML, parse_yaml, read_text
from securetune.data.config import DataConfig
from securetune.errors import ConfigError
from securetune.evaluate.config import EvaluateConfig, Metric, PreflightConfig, SkillMetric
from securetune.keys import looks_like_key
from securetune.measures.kinds import BENIGN, HARMFUL, KindField
from securetune.models.config import ModelConfig
from securetune.scan.config import ScanConfig
from securetune.train.config import OTHER_NAMES, TrainConfig, our_names

Model = TypeVar("Model", bound=BaseModel)
_LONGEST_CHAIN = 20
"""Files that build on one another."""

_MODELS = ("model", "unaligned")
"""Fields of a run that name a model: a plain string is its path."""
SET_BY_COMPARISONS: Mapping[tuple[str, ...], str] = {
    ("output",): "output",
    ("seed",): "seeds",
    ("arms",): "arms",
    ("task", "name"): "the names under tasks",
}
"""What a comparison says for all of its runs, by the field of a run that it takes the place of."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed as numpy and torch take it."""


class _PartConfig(Strict):
    label: str | None = None
    """Only rows with this label."""
    half: Literal["even", "odd"] | None = None
    """Only every second row, so that one file can serve training and testing."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many prompts, drawn with the run's seed."""


class PromptsConfig(_PartConfig):
    """A file of prompts, or a part of it."""

    path: FilePath
    """File of prompts: JSONL, a JSON list, CSV, Parquet or text with one prompt a line, also under gzip.

    ``securetune:harmful``, ``securetune:twins`` and ``securetune:ordinary`` are the prompt pack's."""


class AnalysisConfig(Strict):
    """Prompts that the probe and the scan read; keep them apart from the evaluation's.

    By default half of the prompt pack's harmful requests and of their harmless twins; the evaluation asks the others.
    """

    malicious: PromptsConfig = PromptsConfig(path=f"{SHIPPED}harmful", half="even")
    benign: PromptsConfig = PromptsConfig(path=f"{SHIPPED}twins", half="even")


class SearchConfig(Strict):
    """How the robust set is found."""

    method: str = "greedy"
    """A file name of `securetune.search`."""
    tolerance: float = Field(default=0.25, gt=0)
    """Largest joint drop of the signal, as a share of its range."""


class MixedConfig(DataConfig):
    """Rows that take the place of some of the task's."""

    share: float = Field(ge=0, le=1)
    """Share of the task's training rows that they replace."""


class TaskConfig(Strict):
    """The benign task to tune on."""

    name: Name = "task"
    """Name in tables."""
    train: DataConfig
    test: DataConfig | None = None
    """Held-out rows; by default `test_rows` rows, drawn with the run's seed, are taken out of the training rows."""
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
        if self.pattern == "":
            raise ValueError("an empty `pattern` is matched by no answer: write what a right one looks like")
        return self


class AttackConfig(Strict):
    """An attack; its own settings stand beside its name."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: str
    """A file name of `securetune.evaluate.attacks`."""


class BenchmarkConfig(_PartConfig):
    """A public benchmark, or a file of the user's own."""

    benchmark: str | None = None
    """A file name of `securetune.evaluate.benchmarks`."""
    path: FilePath | None = None
    """File of the prompts, or folder that holds the benchmark's; without it, the Hub."""
    revision: str | None = None
    """Commit of the benchmark on the Hub."""
    name: Name | None = None
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


class RunConfig(Strict):
    """Everything `securetune run` needs."""

    model: ModelConfig
    output: OutputFolder = Field(min_length=1)
    """Run folder; finished stages in it are not repeated."""
    seed: Seed = 0
    """Seed of prompts, draws, data order and adapters."""
    preflight: PreflightConfig = PreflightConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    scan: ScanConfig = ScanConfig()
    search: SearchConfig = SearchConfig()
    defence: PluginSettings = {}
    """Settings of defences by name, for example ``{ml_lr: {sensitive_lr_mult: 0.1}}``."""
    arms: tuple[str, ...] = ("none", "ml_lr", "swat")
    """Defences to train with, several at once joined by ``+``, after ``@`` a factor on the learning rate.

    One of your own is ``path/to/mine.py:Name``. ``none`` (plain tuning) is always the first."""
    safety: DataConfig | Literal["self"] | None = None
    """Prompts with safe answers, for the defences that need them; never the evaluation's. ``self`` takes what the model
    itself says to the prompts of `analysis` before tuning: its refusals, and its answers to harmless ones."""
    unaligned: ModelConfig | None = None
    """The model before its alignment, for the defences that need it."""
    task: TaskConfig
    train: TrainConfig = TrainConfig()
    monitor_every: int = Field(default=20, ge=0)
    """Steps between measurements of the refusal margin while tuning; 0 for none. It changes no result."""
    benchmarks: tuple[BenchmarkConfig, ...] = (
        BenchmarkConfig(name="harmful requests", kind=HARMFUL, path=f"{SHIPPED}harmful", half="odd"),
        BenchmarkConfig(name="harmless twins", kind=BENIGN, path=f"{SHIPPED}twins", half="odd"),
        BenchmarkConfig(name="ordinary requests", kind=BENIGN, path=f"{SHIPPED}ordinary"),
    )
    """What is asked before and after; by default the prompt pack, as far as the analysis does not read it."""
    evaluate: EvaluateConfig = EvaluateConfig()


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping, put over the files that its `base` names, if there are any.

    `base` is a path or a list of paths, each relative to the file that names it. Besides the top of a file it can stand
    in what a comparison makes its runs of: in `run`, in every model and in every task; what such a base says of
    `SET_BY_COMPARISONS` is left out, so that the file of a run can serve.

    Raises:
        ConfigError: no such file, not a YAML mapping, or a base that builds on itself.
    """
    return _Bases().over(_load(Path(path), str(path)), Path(path), (_real(path),))


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A run's fields with others put over them, mapping by mapping; a list takes the place of a list.

    Fields of a model are put over one that is written as its path alone.
    """
    below, above = _with_our_names(below), _with_our_names(above)
    refined = [name for name in _MODELS if isinstance(above.get(name), Mapping)]
    return _merged(_with_model_paths(below, refined), above)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    whole = copy.deepcopy(dict(below))
    for key, value in above.items():
        is_nested = isinstance(value, Mapping) and isinstance(whole.get(key), Mapping)
        whole[key] = _merged(whole[key], value) if is_nested else copy.deepcopy(value)
    return whole


def without_set_by_comparisons(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run's fields but those that a comparison says for all of its runs."""
    left = copy.deepcopy(dict(run))
    for *way, last in SET_BY_COMPARISONS:
        section: Any = left
        for name in way:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section.pop(last, None)
    return left


def _load(path: Path, source: str) -> dict[str, Any]:
    """The mapping in one file, as it is written."""
    text = read_text(path, "a YAML file", ConfigError, source=source, largest=LARGEST_YAML)
    raw = parse_yaml(text, source, ConfigError)
    if not isinstance(raw, dict):
        raise ConfigError(
            f"Expected a mapping in {source}, found {type(raw).__name__}. Start from one that `securetune new` writes."
        )
    return raw


class _Bases:
    """Files that others build on; each is read once, however many name it."""

    def __init__(self) -> None:
        self._known: dict[Path, dict[str, Any]] = {}

    def over(
        self, raw: Mapping[str, Any], file: Path, chain: tuple[Path, ...], *, is_part: bool = False
    ) -> dict[str, Any]:
        """A mapping of `file` put over its bases.

        Args:
            raw: the mapping.
            file: where it stands.
            chain: the files on the way to it, itself the last.
            is_part: whether a comparison makes its runs of it.
        """

        def built(part: Any) -> Any:
            return self.over(part, file, chain, is_part=True) if isinstance(part, dict) else part

        above = {key: value for key, value in raw.items() if key != "base"}
        if "run" in above:
            above["run"] = built(above["run"])
        for group in ("models", "tasks"):
            if isinstance(above.get(group), dict):
                above[group] = {name: built(part) for name, part in above[group].items()}
        below: dict[str, Any] = {}
        for name in _base_names(raw, file):
            below = merged(below, self._read(name, file, chain))
        return merged(without_set_by_comparisons(below) if is_part else below, above)

    def _read(self, name: str, file: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
        path = _base_path(name, file)
        place = _real(path)
        if place in chain:
            raise ConfigError(
                f"Expected the bases of {chain[0]} to end, found that {file} names {name!r}, which builds on {file}. "
                "Take one of these bases out."
            )
        if len(chain) > _LONGEST_CHAIN:
            raise ConfigError(
                f"Expected at most {_LONGEST_CHAIN} files that build on one another below {chain[0]}, found more: "
                f"{file} names {name!r}. Put some of them together."
            )
        if place not in self._known:
            raw = _load(path, f"{path}, the base {name!r} of {file}")
            self._known[place] = self.over(raw, path, (*chain, place))
        return self._known[place]


def _base_names(raw: Mapping[str, Any], file: Path) -> list[str]:
    base = raw.get("base", [])
    names = base if isinstance(base, list) else [base]
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"Expected `base` in {file} to be a path or a list of paths, found {base!r}. "
            f"Write for example `base: {SHIPPED}run/demo.yaml`."
        )
    return names


def _base_path(name: str, file: Path) -> Path:
    """Where a base lies that `file` names."""
    if not name.startswith(SHIPPED):
        return file.parent / name
    folder = configs_folder()
    path = folder / name.removeprefix(SHIPPED)
    if not _real(path).is_relative_to(_real(folder)):
        raise ConfigError(
            f"Expected {name!r} in {file} to name a configuration that ships with securetune, found a path outside of "
            f"them. Write the path of a file of your own without {SHIPPED!r}."
        )
    return path


def _real(path: str | Path) -> Path:
    """The path without links; `Path.resolve` raises where links go round in a circle."""
    return Path(os.path.realpath(path))


def validated(kind: type[Model], raw: Mapping[str, Any], source: str) -> Model:
    """Check a mapping against a configuration class.

    Raises:
        ConfigError: a field is unknown, missing or out of range, or true or false stands for a number; all problems
            are named. Or a key stands in it.
    """
    _refuse_keys(raw, source)
    raw = _with_our_names(raw)
    try:
        config = kind.model_validate(raw)
        problems = [f"{place}: expected a number, found {value}" for place, value in misread(raw, config.model_dump())]
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}{near_field(kind, e)}" for e in error.errors()]
        raise _has_problems(source, problems) from error
    if problems:
        raise _has_problems(source, problems)
    return config


def _has_problems(source: str, problems: Sequence[str]) -> ConfigError:
    return ConfigError(f"Expected a configuration in {source}, found problems: {'; '.join(problems)}. Correct them.")


def override(raw: dict[str, Any], field: str, value: object) -> None:
    """Set a dotted field, such as ``train.steps``, in place.

    A section that is not there is made, of what stands there by default; a model's path alone becomes a section.

    Raises:
        ConfigError: a part of the way is no section with fields of its own.
    """
    *parents, last = field.split(".")
    section: Any = raw
    for depth, parent in enumerate(parents, 1):
        if section.get(parent) is None:
            section[parent] = _default_section(parents[:depth])
        if parent in _MODELS and isinstance(section[parent], str):
            section[parent] = {"path": section[parent]}
        section = section[parent]
        if not isinstance(section, dict):
            way = ".".join(parents[:depth])
            is_list = isinstance(section, list | tuple)
            found, whole = ("a list, of which it sets no part", "[...]") if is_list else (repr(section), "...")
            raise ConfigError(
                f"Expected `{way}` to have fields, of which --set {field} sets one, found {found}. Set it as a whole "
                f"(-s '{way}={whole}'), or change the file."
            )
    is_train, is_of_task = parents[-1:] == ["train"], parents[-2:-1] == ["task"]
    name = OTHER_NAMES.get(last, last) if is_train and not is_of_task else last
    section[name] = _with_our_names({"train": value})["train"] if last == "train" else value


def _default_section(way: Sequence[str]) -> Any:
    """What stands by default at a way into a run's fields, or a comparison's `run`, but what its class says itself."""
    fields = way[1:] if way[0] == "run" else way
    field = RunConfig.model_fields.get(fields[0]) if fields else None
    value: Any = None if field is None else field.get_default()
    for name in fields[1:]:
        value = getattr(value, name, None)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    return {} if value in (None, PydanticUndefined) else copy.copy(value)


def parsed_override(text: str) -> tuple[str, object]:
    """The field and the value of ``field=value``, whose value is YAML.

    Raises:
        ConfigError: it has another form.
    """
    field, equals, value = text.partition("=")
    if not equals or not all(field.split(".")):
        raise ConfigError(f"Expected --set field=value, found {text!r}. Write for example -s train.steps=50.")
    return field, parse_yaml(value, f"--set {field}", ConfigError)


def _refuse_keys(raw: object, source: str, place: tuple[str, ...] = ()) -> None:
    """A configuration is stored, printed and shared: no key may stand in it."""
    if isinstance(raw, Mapping):
        for name, part in raw.items():
            _refuse_keys(part, source, (*place, str(name)))
    elif isinstance(raw, list | tuple):
        for part in raw:
            _refuse_keys(part, source, place)
    elif isinstance(raw, str) and looks_like_key(raw):
        raise ConfigError(
            f"Expected no key and no password in {source}, found one at {'.'.join(place)}. Take it out, and keep it in "
            "an environment variable (for a judge, the one that `key_variable` names; for the Hub, HF_TOKEN)."
        )


def parse_config(raw: Mapping[str, Any], source: str) -> RunConfig:
    """Validate a run's configuration; a plain string as `model` or `unaligned` is its path.

    Raises:
        ConfigError: a field is unknown, missing or out of range.
    """
    return validated(RunConfig, _with_model_paths(raw), source)


def dump_config(config: BaseModel) -> str:
    """The configuration as YAML with every default filled in."""
    return yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False, allow_unicode=True)


def run_defaults(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Some fields of a run with the defaults of all that they leave out; what has no default stays out."""
    return dict(_with_defaults(RunConfig, _with_our_names(_with_model_paths(raw))))


def starting_copy(name: str, file: Path) -> str:
    """The text of a shipped configuration without its bases, to be kept in `file` and changed there.

    Raises:
        ConfigError: no such configuration.
    """
    shipped = shipped_config(name)
    comment = "\n".join((f"# {shipped.command} {file}", *shipped.comment[1:]))
    settings = read_yaml(shipped.path)
    # None: an innermost mapping or list on one line, as the shipped files are written.
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    return f"{comment}\n{text}"


def _with_model_paths(raw: Mapping[str, Any], names: Iterable[str] = _MODELS) -> dict[str, Any]:
    return {**raw, **{name: {"path": raw[name]} for name in names if isinstance(raw.get(name), str)}}


def _with_our_names(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """A run's fields with those of `train` under our names; where they cannot be, validation says so."""
    try:
        return {**run, "train": our_names(run["train"])} if "train" in run else run
    except ValueError:
        return run


def _with_defaults(kind: type[BaseModel], raw: Any) -> Any:
    if isinstance(raw, list):
        return [_with_defaults(kind, part) for part in raw]
    if not isinstance(raw, Mapping):
        return raw
    whole = dict(raw)
    for name, field in kind.model_fields.items():
        section = section_of(field.annotation)
        if name not in raw and not field.is_required():
            whole[name] = to_jsonable_python(field.get_default())
        elif name in raw and section is not None:
            whole[name] = _with_defaults(section, raw[name])
    return whole
