"""Grid: which runs does a comparison consist of, and with which learning rate does every method enter it?

Every method gets the same rates to try on seeds of their own (`sweep_seeds`); the rate with which it learned the task
and kept the lowest ASR there is its rate on the other seeds, where the results come from.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from securetune.base.names import FolderName, OutputFolder
from securetune.base.strict import Strict
from securetune.config import (
    SET_BY_COMPARISONS,
    RunConfig,
    Seed,
    merged,
    parse_config,
    run_defaults,
    without_set_by_comparisons,
)
from securetune.defences.base.arm import Arm
from securetune.errors import ConfigError

if TYPE_CHECKING:  # results need scipy, of which a grid can do without
    from securetune.compare.results import Result


class CompareConfig(Strict):
    """Everything `securetune compare` needs."""

    output: OutputFolder
    """Folder of the grid; finished cells in it are not repeated."""
    run: dict[str, Any]
    """What all cells share: fields of a run's configuration."""
    models: dict[FolderName, dict[str, Any]] = Field(default={"model": {}}, min_length=1)
    """Per model, the fields in which its runs differ."""
    tasks: dict[FolderName, dict[str, Any]] = Field(min_length=1)
    """Per task, the fields in which its runs differ."""
    arms: tuple[str, ...] = Field(min_length=1)
    """What is compared with plain tuning, which is always there."""
    seeds: tuple[Seed, ...] = Field(default=(0, 1, 2), min_length=1)
    """Seeds of the results."""
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), min_length=1)
    """Factors on the task's learning rate that every arm tries."""
    sweep_seeds: tuple[Seed, ...] = (100,)
    """Seeds on which the factor is chosen, if there are several; none of `seeds`."""
    mixed_shares: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()
    """Shares of the training rows that rows of `task.mixed` replace; the rates are those of the first."""
    executor: Literal["processes", "dask"] = "processes"
    """Where the jobs run: in processes here, or on a Dask cluster whose workers see the same files."""
    address: str | None = None
    """Address of the cluster's scheduler, for example ``tcp://10.0.0.1:8786``."""
    workers: int = Field(default=1, ge=1, le=1024)
    """Processes that work side by side here."""
    threads: int = Field(default=1, ge=1, le=1024)
    """Threads of each; another number adds in another order and can change a result in the last digits."""

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every model with every task."""
        return [(model, task) for model in self.models for task in self.tasks]

    @model_validator(mode="after")
    def _says_nothing_twice(self) -> "CompareConfig":
        groups = {"models": self.models, "tasks": self.tasks}
        parts = {f"{group}.{name}": part for group, named in groups.items() for name, part in named.items()}
        fields = dict(SET_BY_COMPARISONS)
        if self.mixed_shares:
            fields["task", "mixed", "share"] = "mixed_shares"
        for place, part in {"run": self.run, **parts}.items():
            for way, own in fields.items():
                if _says(part, way):
                    field = f"{place}.{'.'.join(way)}"
                    raise ValueError(f"{field} would not count, as {own} of the comparison says it: take it out")
        return self

    @model_validator(mode="after")
    def _runs_somewhere(self) -> "CompareConfig":
        if (self.executor == "dask") != (self.address is not None):
            raise ValueError("give `address`, the scheduler's, with `executor: dask`, and with no other")
        return self

    @model_validator(mode="after")
    def _keeps_seeds_apart(self) -> "CompareConfig":
        if len(self.learning_rates) > 1 and set(self.seeds) & set(self.sweep_seeds):
            raise ValueError("sweep_seeds and seeds must have none in common: a rate is not chosen where it is judged")
        if len(self.learning_rates) > 1 and not self.sweep_seeds:
            raise ValueError("several learning_rates need sweep_seeds, on which one of them is chosen")
        for name in ("seeds", "sweep_seeds", "learning_rates", "mixed_shares"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} must be distinct: each has a folder of its own, and counts once")
        if any("@" in arm for arm in self.arms):
            raise ValueError("factors on the learning rate are the same for all arms: write them under learning_rates")
        return self


def _says(part: Any, way: Sequence[str]) -> bool:
    """Whether a field stands in a mapping of mappings."""
    for name in way:
        if not isinstance(part, Mapping) or name not in part:
            return False
        part = part[name]
    return True


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run folder of the grid."""

    model: str
    task: str
    share: float | None
    seed: int
    settings: dict[str, Any] = field(hash=False)
    """The run's configuration, without its arms."""
    arms: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of its folder."""
        share = "" if self.share is None else f"-{100 * self.share:g}%"
        return f"{self.model}-{self.task}{share}-{self.seed}"


def chosen_rates(
    sweep: Iterable["Result"], default: Mapping[tuple[str, str], Mapping[str, float]]
) -> dict[tuple[str, str], dict[str, float]]:
    """Per model and task, every arm's rate: it learned the task, then the lowest ASR, then the fewest steps.

    Where an arm never learned the task, the rate with the lowest loss; where it has no result, the default.
    """
    by_rate: dict[tuple[str, str, str], dict[float, list[Result]]] = {}
    for result in sweep:
        by_rate.setdefault((result.model, result.task, result.arm), {}).setdefault(result.rate, []).append(result)

    def merit(results: Sequence["Result"]) -> tuple[float, ...]:
        if all(result.is_learned for result in results):
            return (0, sum(result.asr for result in results), sum(result.steps for result in results))
        return (1, sum(result.loss_ratio for result in results))

    def best(rates: Mapping[float, Sequence["Result"]], otherwise: float) -> float:
        return min(rates, key=lambda rate: merit(rates[rate]), default=otherwise)

    return {
        (model, task): {arm: best(by_rate.get((model, task, arm), {}), rate) for arm, rate in arms.items()}
        for (model, task), arms in default.items()
    }


def cells(
    config: CompareConfig, seeds: Iterable[int], arms: Mapping[tuple[str, str], Sequence[str]], shares: Sequence[float]
) -> list[Cell]:
    """Every model x task x share x seed with the arms of that model and task."""
    grid = []
    for model, of_model in config.models.items():
        for task, of_task in config.tasks.items():
            for share in shares or (None,):
                for seed in seeds:
                    settings = merged(merged(config.run, of_model), of_task)
                    settings = merged(settings, {"seed": seed, "task": {"name": task}})
                    if share is not None:
                        settings = merged(settings, {"task": {"mixed": {"share": share}}})
                    grid.append(
                        Cell(
                            model=model,
                            task=task,
                            share=share,
                            seed=seed,
                            settings=settings,
                            arms=tuple(str(Arm.parse(arm)) for arm in arms[model, task]),
                        )
                    )
    return grid


def is_comparison(raw: Mapping[str, Any]) -> bool:
    """Whether a file's fields are those of a comparison, not of a run."""
    return "run" in raw or "tasks" in raw


def run_configs(config: CompareConfig) -> list[RunConfig]:
    """Every model x task x share as a run's configuration, on the first seed.

    Raises:
        ConfigError: the first of them that cannot be used, or two that would share a folder.
    """
    grid = cells(config, config.seeds[:1], dict.fromkeys(config.places, config.arms), config.mixed_shares)
    names = [cell.name for cell in grid]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"Expected models and tasks whose names joined by a dash are distinct, found {names}. Rename one: each has "
            "a folder of that name."
        )
    return [parse_config({**cell.settings, "output": config.output}, cell.name) for cell in grid]


def dump_comparison(config: CompareConfig) -> str:
    """The comparison as YAML with every default filled in, its own and those of the runs' shared fields."""
    shared = without_set_by_comparisons(run_defaults(config.run))
    whole = {**json.loads(config.model_dump_json()), "run": shared}
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)
