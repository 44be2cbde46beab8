"""Session: one configuration bound to its run folder, with the model loaded only when a stage must compute."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

from transformers import PreTrainedModel

from securetune.base.artifacts import Journal, RunFolder, digest
from securetune.base.fingerprint import fingerprint
from securetune.config import RunConfig
from securetune.data.config import OWN, DataConfig
from securetune.data.examples import SourceRows, load_source, parted, replaced
from securetune.data.prompts import Example
from securetune.defences import DEFENCES
from securetune.defences.base.arm import BASE, PLAIN, Arm
from securetune.defences.base.combination import Combination
from securetune.defences.base.needs import SAFETY_ROWS
from securetune.defences.base.run import Resources
from securetune.errors import ConfigError
from securetune.evaluate.judging import judges_of, try_judges
from securetune.evaluate.vllm_engine import check_vllm
from securetune.flow.asking import Asking
from securetune.models.config import ModelConfig
from securetune.models.files import check_model
from securetune.models.loading import LazyModel, load_model, with_adapter
from securetune.perturb import PERTURBATIONS
from securetune.scan.config import ScanConfig
from securetune.scan.draws import ANSWERS
from securetune.scan.probe import split_prompts
from securetune.scan.signals import SIGNALS
from securetune.search import SEARCHES
from securetune.train.trackers import check_trackers

_HELD_OUT = "drawn by the seed"  # rows from the top of a sorted file would all be of one kind


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What is there of every source of rows; None where there is no such source."""

    train: SourceRows
    test: SourceRows | None
    mixed: SourceRows | None
    """Take the place of a share of the training rows."""


class OwnRows(Sequence[Example]):
    """The model's own safe answers, which it gives when somebody reads them; too few are an error then, not earlier."""

    def __init__(self, ask: Callable[[], Sequence[Example]]) -> None:
        self._ask = ask

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        return self._ask()[index]

    def __len__(self) -> int:
        return len(self._ask())

    def __bool__(self) -> bool:
        return True


class Session(Asking):
    """What the stages share: configuration, folder, model, tokenizer and data."""

    def __init__(self, config: RunConfig, folder: RunFolder) -> None:
        super().__init__(config, folder)
        self.config: RunConfig = config

    def check(self) -> None:
        """Read every input and look up every plug-in now, so that a mistake shows before hours of work.

        Raises:
            SecuretuneError: the first thing that cannot be used.
        """
        for name in self.config.defence:
            DEFENCES.get(name)
        for arm in self.arms:
            self.combination(arm).check(self.resources, self.config.train.adapter)
        check_trackers(self.config.train.report_to)
        judges_of(self.config.evaluate)
        if self.config.evaluate.engine == "vllm":
            check_vllm(self.config.model)
        if not all(self.folder.file("evaluate", arm).exists() for arm in (BASE, *self.arms)):
            try_judges(self.config.evaluate)
        PERTURBATIONS.get(self.config.scan.perturbation)
        SEARCHES.get(self.config.search.method)
        if self.config.scan.signal != ANSWERS:
            SIGNALS.get(self.config.scan.signal)
        _ = self.benchmarks, self.examples, self.tokenizer
        split_prompts(self.prompts.all, self.prompts.labels, seed=self.config.seed)
        if self.config.unaligned is not None:
            check_model(self.config.unaligned.path)

    @cached_property
    def scan_config(self) -> ScanConfig:
        """How to scan, with the run's seed where the scan has none of its own."""
        config = self.config.scan
        return config if config.seed is not None else config.model_copy(update={"seed": self.config.seed})

    @property
    def arms(self) -> list[str]:
        """The defences to train with, plain tuning first."""
        named = [str(Arm.parse(arm)) for arm in self.config.arms]
        return [PLAIN, *(arm for arm in dict.fromkeys(named) if arm != PLAIN)]

    def combination(self, arm: str | None) -> Combination:
        """The defences of an arm, new for every run."""
        return Combination.of(arm or PLAIN, self.config.defence)

    @cached_property
    def resources(self) -> Resources:
        """What defences may use beyond the task's rows."""
        unaligned = self.config.unaligned
        return Resources(
            safety_rows=self._safety_rows(),
            malicious=[prompt.text for prompt in self.prompts.malicious],
            benign=[prompt.text for prompt in self.prompts.benign],
            unaligned=LazyModel(unaligned) if unaligned is not None else None,
        )

    @cached_property
    def task_fingerprint(self) -> str:
        """The task's settings and rows, and how rows are held out where that is left to us."""
        task = self.config.task
        return fingerprint(task) if task.test is not None else fingerprint([task, _HELD_OUT])

    def journal(self, stage: str, inputs: Mapping[str, str], process: int = 0) -> Journal:
        """A stage's journal for exactly these inputs, one per process; each starts with what all of them hold."""
        path = self.folder.file(stage, suffix=f".{digest(dict(inputs))[:8]}.journal")
        others = sorted(path.parent.glob(f"{path.stem}.process-*.journal"))
        if process == 0:
            return Journal(path, others)
        return Journal(path.with_suffix(f".process-{process}.journal"), [path], name=path.name)

    def model_to_tune(self) -> PreTrainedModel:
        """A model that training may change; the base model is given up to save memory."""
        self._base = None
        return load_model(self.config.model)

    def tuned_model(self, arm: str) -> PreTrainedModel:
        """The model after tuning with `arm`."""
        config, adapter = self.served(arm)
        model = load_model(config)
        return model if adapter is None else with_adapter(model, adapter)

    def served(self, arm: str | None) -> tuple[ModelConfig, Path | None]:
        """Which model an arm's answers come from, with its adapter; the base model is given up to save memory."""
        self._base = None
        if arm is None:
            return self.config.model, None
        output = self.folder.file("train", arm, "")
        if (output / "adapter_config.json").exists():
            return self.config.model, output
        return self.config.model.model_copy(update={"path": str(output), "revision": None}), None

    @cached_property
    def sources(self) -> "Sources":
        """Every source of rows, read once."""
        task = self.config.task
        return Sources(
            train=self._source(task.train, shuffled=task.test is None),
            test=None if task.test is None else self._source(task.test),
            mixed=None if task.mixed is None else self._source(task.mixed),
        )

    @cached_property
    def safety(self) -> SourceRows | None:
        """Rows with safe answers; the model's own, which it is asked for, only where an arm needs any."""
        safety = self.config.safety
        if isinstance(safety, str):
            return self._own_answers if self._needs_safety else None
        return None if safety is None else self._source(safety)

    @property
    def _needs_safety(self) -> bool:
        return any(SAFETY_ROWS in self.combination(arm).needs for arm in self.arms)

    def _safety_rows(self) -> Sequence[Example]:
        if self.config.safety == OWN and self._needs_safety:
            return OwnRows(lambda: self._own_answers.rows)
        return () if self.safety is None else self.safety.rows

    @cached_property
    def _own_answers(self) -> SourceRows:
        return self._source(self.own_rows)

    def _source(self, source: DataConfig, *, shuffled: bool = False) -> SourceRows:
        return load_source(source, seed=self.config.seed, shuffled=shuffled, folder=self.folder.path)

    @cached_property
    def examples(self) -> tuple[Sequence[Example], Sequence[Example]]:
        """Training rows and held-out rows of the task."""
        task, rows, test = self.config.task, self.sources.train.rows, self.sources.test
        if test is not None:
            held_out = test.rows[: task.test_rows]
        else:
            held_out, left = parted(rows, task.test_rows)
            if len(rows) < 2 * task.test_rows or not len(left):
                raise ConfigError(
                    f"Expected at least {2 * task.test_rows} rows in {task.train.path} to hold out {task.test_rows}, "
                    f"found {len(rows)}{'' if len(left) else ' of one conversation'}. Give task.test, or lower "
                    "task.test_rows."
                )
            rows = left
        if task.mixed is None or self.sources.mixed is None:
            return rows, held_out
        return replaced(rows, self.sources.mixed.rows, task.mixed.share, self.config.seed), held_out
