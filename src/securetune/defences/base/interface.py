"""Interface: the hooks of a defence, all optional, and what it declares about itself.

A plug-in offers `defence`, a subclass of `Defence`. Every tuning run makes an instance of its own, which may keep state
between the hooks.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel

from securetune.base.strict import Strict
from securetune.data.prompts import Example
from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.needs import Need
from securetune.defences.base.run import TrainingRun
from securetune.measures.knapsack import Price
from securetune.models.features import PromptBatch
from securetune.models.openings import Openings
from securetune.models.topology import ModuleSet, Topology
from securetune.plans.plan import Plan, PlanModel, plan_of

RATES, WEIGHTS, PROMPT, BATCHES = "learning rates", "final weights", "system prompt", "batches"
TOKENS = "weights of the answer tokens"
"""What only one of several combined defences can decide."""

Weights = Literal["none", "own_shard", "whole"]
"""What a defence reads or changes of the weights between two steps, where several processes may share them out."""
_BETWEEN_STEPS = ("step", "evaluated", "finalize")


class Settings(Strict):
    """Settings of one defence; in a configuration they stand under ``defence.<name>``."""


class SensitiveRate(Settings):
    """Settings of ML-LR and of the plans it is compared with."""

    sensitive_lr_mult: float = Field(default=0.05, ge=0)
    """Factor on the learning rate outside the robust set; 0 freezes, 1 is plain tuning."""


@dataclass(frozen=True, kw_only=True)
class Analysed:
    """The model before tuning with the prompts of the analysis."""

    model: PreTrainedModel
    malicious: Sequence[PromptBatch]
    benign: Sequence[PromptBatch]
    openings: Openings


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
    """What a defence may build its plan from."""

    model: PlanModel
    topology: Topology
    robust: ModuleSet
    """Mods_Robust, as the search found it; for a defence that needs `SCAN`, as are the scores."""
    search: Callable[[str, int], ModuleSet]
    """Run another search by name and size (`random`, `inverted`)."""
    analysed: Callable[[], Analysed]
    """The model and the prompts themselves, for a localisation other than the scan's."""
    prices: Callable[[], Mapping[str, Price]]
    """What every module gains and costs in a plain run; for a defence that needs `PLAIN_RUN`."""
    scores: dict[str, float]
    signal: str
    seed: int
    versions: dict[str, str]


class Defence:
    """Base of all defences: plain tuning."""

    title: ClassVar[str]
    """Name in tables."""
    paper: ClassVar[str]
    """Where the method comes from."""
    needs: ClassVar[tuple[Need, ...]] = ()
    """What it needs beyond the task's rows."""
    decides: ClassVar[tuple[str, ...]] = ()
    """What no other defence may decide besides it."""
    weights: ClassVar[Weights] = "own_shard"
    """What its hooks read or change of the weights between steps; what a set-up cannot give is refused at the start.

    The default holds for hooks that take every weight by itself: where weights are sharded over processes (FSDP2) each
    hook is given this process's shards. Say ``whole`` where single shards are of no use, such as a norm, a ranking or a
    product of a weight, and ``none`` where a hook between steps looks at no weight. A defence without such a hook reads
    none anyway."""
    cost: ClassVar[str] = "none"
    """Extra cost per training step."""
    is_defence: ClassVar[bool] = True
    """Whether it is meant to protect; plain tuning and baselines only serve the comparison."""
    Settings: ClassVar[type[Settings]] = Settings
    """Class of its settings."""
    section: ClassVar[str | None] = None
    """Where its settings stand, if not under its own name: a baseline shares those of what it is compared with."""

    def __init__(self, settings: Any = None) -> None:
        self.settings: Any = self.Settings() if settings is None else settings

    def edit_plan(self, inputs: PlanInputs) -> Plan:
        """The plan to attach; only for defences that decide the learning rates."""
        raise NotImplementedError

    def edit_data(self, rows: Sequence[Example], safety: Sequence[Example], seed: int) -> Sequence[Example]:
        """The rows to tune on."""
        del safety, seed
        return rows

    def select_rows(self, run: TrainingRun, rows: Sequence[Example]) -> Sequence[Example]:
        """Those of the rows to tune on that are to stay, chosen by the model before tuning; an adapter comes later."""
        del run
        return rows

    def begin(self, run: TrainingRun) -> None:
        """Prepare, before the first step; after a kill too."""

    def edit_batch(self, run: TrainingRun, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch to train on at this step."""
        del run
        return inputs

    def loss(self, batch: TokenBatch) -> Tensor | None:
        """A term to add to the loss: a mean over the batch's answer tokens, in nats."""
        del batch
        return None

    def gradients(self, run: TrainingRun) -> None:
        """Change the gradients in place, before the optimizer uses them."""

    def step(self, run: TrainingRun) -> None:
        """Do something after every optimizer step."""

    def evaluated(self, run: TrainingRun) -> AbstractContextManager[None]:
        """Around every measurement of the held-out loss during training."""
        del run
        return nullcontext()

    def finalize(self, run: TrainingRun) -> None:
        """Change the weights in place after the last step."""

    def state(self) -> dict[str, Any]:
        """What a resumed run has to know; tensors and plain values."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`, after `begin`."""

    def inference_prompt(self) -> str | None:
        """System prompt that the tuned model is to be used with."""
        return None

    def steer(self, analysed: Analysed, model: PreTrainedModel) -> None:
        """Change how the tuned model computes its answers, by hooks on it."""


def overrides(defence: Defence | type[Defence], hook: str) -> bool:
    """Whether a defence has this hook at all."""
    kind = defence if isinstance(defence, type) else type(defence)
    return getattr(kind, hook) is not getattr(Defence, hook)


def changes_gradients(defence: Defence | type[Defence]) -> bool:
    """Whether it acts between gradients and the step."""
    return overrides(defence, "gradients")


def weights_between_steps(defence: Defence | type[Defence]) -> Weights:
    """What it reads or changes of the weights between steps: what it says, and nothing without a hook there."""
    if defence.weights == "whole" or any(overrides(defence, hook) for hook in _BETWEEN_STEPS):
        return defence.weights
    return "none"


def acts_in_training(defence: Defence | type[Defence]) -> bool:
    """Whether it has a hook that a trainer calls."""
    return any(overrides(defence, hook) for hook in (*_BETWEEN_STEPS, "begin", "edit_batch", "loss", "gradients"))


def lr_plan(method: str, inputs: PlanInputs, robust: ModuleSet, rest_lr_mult: float) -> Plan:
    """ML-LR's plan for a given robust set, with its provenance."""
    return plan_of(
        method,
        inputs.model,
        inputs.topology,
        robust,
        rest_lr_mult=rest_lr_mult,
        scores=inputs.scores,
        signal=inputs.signal,
        seed=inputs.seed,
        versions=inputs.versions,
    )
