"""Combination: the defences of one arm, checked to go together, hook by hook in the order they were named."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from securetune.base.artifacts import digest
from securetune.base.fingerprint import plugin_fingerprint
from securetune.data.prompts import Example
from securetune.defences import DEFENCES
from securetune.defences.base.arm import Arm
from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.interface import RATES, Analysed, Defence, PlanInputs, overrides
from securetune.defences.base.needs import SCAN, Need
from securetune.defences.base.run import Resources, TrainingRun
from securetune.errors import ConfigError
from securetune.plans.plan import Plan


class Combination:
    """One or several defences as one."""

    def __init__(self, defences: Sequence[Defence]) -> None:
        """Join defences.

        Raises:
            ConfigError: two of them decide the same thing.
        """
        self.defences = list(defences)
        deciding: dict[str, Defence] = {}
        for defence in self.defences:
            for thing in defence.decides:
                if thing in deciding:
                    raise ConfigError(
                        f"Expected one defence that decides the {thing}, found {deciding[thing].title} and "
                        f"{defence.title}. Leave one of them out, or make two arms of them."
                    )
                deciding[thing] = defence

    @classmethod
    def of(cls, arm: str | Sequence[str | Defence], settings: Mapping[str, Mapping[str, Any]]) -> "Combination":
        """Make the defences of an arm, or join some that are made already with some by name.

        Raises:
            RegistryError: no defence of that name.
            ConfigError: a wrong setting, or defences that cannot go together.
        """
        parts = Arm.parse(arm).names if isinstance(arm, str) else arm
        return cls([_make(part, settings) for part in parts])

    @property
    def needs(self) -> set[Need]:
        """What the defences need, all together."""
        return {need for defence in self.defences for need in defence.needs}

    def check(self, resources: Resources, adapter: str) -> None:
        """Make sure that all they need is there.

        Raises:
            ConfigError: something is missing; the message says what to do.
        """
        for defence in self.defences:
            for need in defence.needs:
                if not need.is_met(resources, adapter):
                    raise ConfigError(f"Expected {need} for {defence.title}, found none. {need.remedy}")

    def fingerprint(self) -> str:
        """Hash of the defences, their settings and the files these name."""
        return digest([plugin_fingerprint(defence) for defence in self.defences])

    def edit_plan(self, inputs: PlanInputs) -> Plan:
        """The plan of the one that decides the learning rates."""
        return self._deciding(RATES).edit_plan(inputs)

    @property
    def has_plan(self) -> bool:
        """Whether one of them decides the learning rates."""
        return any(RATES in defence.decides for defence in self.defences)

    @property
    def reads_scan(self) -> bool:
        """Whether one of them needs the scan's result."""
        return SCAN in self.needs

    def edit_data(self, rows: Sequence[Example], safety: Sequence[Example], seed: int) -> Sequence[Example]:
        """The rows to tune on, edited by one after the other."""
        for defence in self.defences:
            rows = defence.edit_data(rows, safety, seed)
        return rows

    def select_rows(self, run: TrainingRun, rows: Sequence[Example]) -> Sequence[Example]:
        """The rows that stay, chosen by one after the other."""
        for defence in self.defences:
            rows = defence.select_rows(run, rows)
        return rows

    def with_hook(self, hook: str) -> list[Defence]:
        """Those that have a hook."""
        return [defence for defence in self.defences if overrides(defence, hook)]

    def begin(self, run: TrainingRun) -> None:
        """Prepare, before the first step."""
        for defence in self.defences:
            defence.begin(run)

    def edit_batch(self, run: TrainingRun, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch to train on."""
        for defence in self.defences:
            inputs = defence.edit_batch(run, inputs)
        return inputs

    def loss(self, batch: TokenBatch) -> Tensor | None:
        """The sum of their terms."""
        terms = [term for defence in self.with_hook("loss") if (term := defence.loss(batch)) is not None]
        return sum(terms[1:], terms[0]) if terms else None

    def gradients(self, run: TrainingRun) -> None:
        """Change the gradients in place."""
        for defence in self.defences:
            defence.gradients(run)

    def step(self, run: TrainingRun) -> None:
        """After every optimizer step."""
        for defence in self.defences:
            defence.step(run)

    @contextmanager
    def evaluated(self, run: TrainingRun) -> Iterator[None]:
        """Around every measurement of the held-out loss."""
        with ExitStack() as stack:
            for defence in self.defences:
                stack.enter_context(defence.evaluated(run))
            yield

    def finalize(self, run: TrainingRun) -> None:
        """Change the weights after the last step."""
        for defence in self.defences:
            defence.finalize(run)

    def state(self) -> list[dict[str, Any]]:
        """What a resumed run has to know."""
        return [defence.state() for defence in self.defences]

    def load_state(self, state: Sequence[dict[str, Any]]) -> None:
        """Inverse of `state`."""
        for defence, own in zip(self.defences, state, strict=True):
            defence.load_state(own)

    def inference_prompt(self) -> str | None:
        """System prompt that the tuned model is to be used with."""
        return next((found for d in self.defences if (found := d.inference_prompt()) is not None), None)

    def steer(self, analysed: Analysed, model: PreTrainedModel) -> None:
        """Change how the tuned model computes its answers."""
        for defence in self.defences:
            defence.steer(analysed, model)

    def _deciding(self, thing: str) -> Defence:
        return next(defence for defence in self.defences if thing in defence.decides)


def _make(part: str | Defence, settings: Mapping[str, Mapping[str, Any]]) -> Defence:
    if isinstance(part, Defence):
        return part
    if not isinstance(part, str):
        raise ConfigError(f"Expected defences as names or made ones, found {part!r}. Make it first: MyDefence().")
    section = DEFENCES.get(part).section or part
    return DEFENCES.make(part, settings.get(section, {}), f"defence.{section}")
