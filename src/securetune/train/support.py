"""Support: what can a set-up not keep in force, of a plan and of defences?

`REFUSALS` is the one table of it. `check` asks it before training, and `table` prints it for the documentation:
``python -c "from securetune.train.support import table; print(table())"``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from accelerate import DistributedType
from torch.optim import Optimizer
from transformers import Trainer

from securetune.defences import DEFENCES
from securetune.defences.base.combination import Combination
from securetune.defences.base.interface import (
    TOKENS,
    Defence,
    acts_in_training,
    changes_gradients,
    overrides,
    weights_between_steps,
)
from securetune.defences.base.needs import REFERENCE
from securetune.errors import ConfigError, PlanError
from securetune.models.tensors import is_sharded
from securetune.plans.plan import Phase, Plan, PlanModel

Held = Literal["whole", "sharded", "absent"]
"""What of the weights every process holds between steps: all (DDP), its shards (FSDP2), nothing (ZeRO-3)."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a trainer trains, as far as plans and defences depend on it."""

    weights: Held = "whole"
    steps_by_itself: bool = False
    """Whether nobody can act between gradients and the step (DeepSpeed)."""
    has_own_optimizer: bool = False
    """Whether the optimizer is not made of the plan's groups (DeepSpeed with one in its configuration)."""
    scales_gradients: bool = False
    """Whether gradients are scaled up to the very step (fp16 without clipping)."""
    is_in_pieces: bool = False
    """Whether the model was loaded in pieces (ZeRO-3)."""
    adapter: Literal["lora", "full"] = "full"
    optimizer: str = ""
    """What the optimizer is called, for messages."""
    groups_by_itself: bool = False
    """Whether the optimizer makes groups of its own (GaLore, APOLLO, LOMO, and factories such as Muon's)."""
    steps_in_backward: bool = False
    """Whether it steps before the backward pass is over (LOMO, layerwise optimizers)."""
    loads_best: bool = False
    """Whether the best checkpoint takes the place of the last weights."""
    has_own_loss: bool = False
    """Whether tokens do not all count as their cross-entropy (DFT, label smoothing, a loss function)."""

    @classmethod
    def of(cls, trainer: Trainer) -> "Setup":
        """What can be known of a trainer before it trains."""
        state, model = trainer.accelerator.state, trainer.model
        plugin = state.deepspeed_plugin if trainer.is_deepspeed_enabled else None
        weights: Held = "whole"
        if plugin is not None and plugin.zero_stage == 3:
            weights = "absent"
        elif is_sharded(model) or getattr(state, "distributed_type", None) == DistributedType.FSDP:
            weights = "sharded"
        optimizer, options = _optimizer(trainer)
        return cls(
            weights=weights,
            steps_by_itself=plugin is not None,
            has_own_optimizer=plugin is not None and "optimizer" in plugin.deepspeed_config,
            scales_gradients=bool(trainer.args.fp16 and not trainer.args.max_grad_norm),
            is_in_pieces=any(hasattr(parameter, "ds_id") for parameter in model.parameters()),
            adapter="lora" if hasattr(model, "get_base_model") else "full",
            optimizer=optimizer,
            groups_by_itself=bool(_OWN_GROUPS & options),
            steps_in_backward=bool(_IN_BACKWARD & options),
            loads_best=bool(trainer.args.load_best_model_at_end),
            has_own_loss=trainer.compute_loss_func is not None
            or bool(trainer.args.label_smoothing_factor)
            or getattr(trainer.args, "loss_type", None) == "dft",
        )


_OWN_GROUPS = {"params", "model", "optimizer_dict", "factory"}
_IN_BACKWARD = {"model", "optimizer_dict"}


def _optimizer(trainer: Trainer) -> tuple[str, set[str]]:
    """Name of the optimizer to be, and which options it has, as transformers calls them, beyond one's own groups."""
    if trainer.optimizer_cls_and_kwargs is not None:
        kind, options = trainer.optimizer_cls_and_kwargs
        is_class = isinstance(kind, type) and issubclass(kind, Optimizer)
        return getattr(kind, "__name__", repr(kind)), set(options) | (set() if is_class else {"factory"})
    name = str(getattr(trainer.args.optim, "value", trainer.args.optim))
    if "lomo" in name:
        return name, {"model"}
    if "layerwise" in name:
        return name, {"optimizer_dict"}
    return name, {"params"} if name.startswith(("galore", "apollo")) else set()


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A set-up and what it cannot keep in force."""

    setup: Callable[[Setup], bool]
    plan: Callable[[Plan], bool] = lambda plan: False
    defence: Callable[[type[Defence]], bool] = lambda defence: False
    reason: str
    """In the documentation."""
    error: str
    """What was expected, what was found and what to do; ``{title}`` is the defence's, ``{optimizer}`` the trainer's."""


REFUSALS = (
    Refusal(
        setup=lambda setup: setup.has_own_optimizer,
        plan=lambda plan: True,
        reason="DeepSpeed's own optimizer drops the plan's groups",
        error="Expected a DeepSpeed configuration without an optimizer, found one: DeepSpeed would drop the plan's "
        "groups silently. Remove the `optimizer` section.",
    ),
    Refusal(
        setup=lambda setup: setup.steps_by_itself,
        plan=lambda plan: bool(plan.phases),
        reason="DeepSpeed steps before a phase's rates can be set",
        error="Expected a plan without phases for DeepSpeed, found one with phases: DeepSpeed steps before a phase's "
        "rates can be set. Use a plan with one rate per module, such as ML-LR's, or train with DDP or FSDP2.",
    ),
    Refusal(
        setup=lambda setup: setup.steps_by_itself,
        defence=changes_gradients,
        reason="DeepSpeed steps before anybody can change the gradients",
        error="Expected a trainer that lets {title} change every step's gradients, found DeepSpeed, which steps before "
        "anybody can. Leave {title} out, or train with DDP or FSDP2.",
    ),
    Refusal(
        setup=lambda setup: setup.scales_gradients,
        defence=changes_gradients,
        reason="fp16 without clipping scales gradients up to the very step",
        error="Expected gradients in their own scale for {title}, found fp16 without clipping, which scales them up to "
        "the very step. Set max_grad_norm above 0, or train in bf16.",
    ),
    Refusal(
        setup=lambda setup: setup.weights == "absent",
        defence=lambda defence: weights_between_steps(defence) != "none",
        reason="ZeRO-3 leaves no weights in place between steps",
        error="Expected weights that {title} can read between steps, found DeepSpeed ZeRO-3, which leaves none in "
        "place. Use ZeRO-1 or 2, or leave {title} out.",
    ),
    Refusal(
        setup=lambda setup: setup.weights == "sharded",
        defence=lambda defence: weights_between_steps(defence) == "whole",
        reason="it needs whole weights, and every process holds its shards alone",
        error="Expected every weight in one piece for {title}, found them sharded over processes. Train with DDP or "
        "one process, or leave {title} out.",
    ),
    Refusal(
        setup=lambda setup: setup.is_in_pieces and setup.adapter == "full",
        defence=lambda defence: REFERENCE in defence.needs,
        reason="a model that is loaded in pieces cannot be copied as the reference; with LoRA no copy is needed",
        error="Expected a model that can be copied as the reference, found one that DeepSpeed ZeRO-3 has loaded in "
        "pieces. Load the model before you build the training arguments, tune with LoRA, or use ZeRO-1 or 2.",
    ),
    Refusal(
        setup=lambda setup: setup.groups_by_itself,
        plan=lambda plan: True,
        reason="the optimizer makes parameter groups of its own and would drop the plan's",
        error="Expected an optimizer that takes the plan's parameter groups, found {optimizer}, which makes groups of "
        "its own. Choose another, such as adamw_torch.",
    ),
    Refusal(
        setup=lambda setup: setup.steps_in_backward,
        defence=changes_gradients,
        reason="the optimizer steps in the backward pass, before anybody can change the gradients",
        error="Expected an optimizer that lets {title} change every step's gradients, found {optimizer}, which steps "
        "in the backward pass. Choose another, such as adamw_torch, or leave {title} out.",
    ),
    Refusal(
        setup=lambda setup: setup.loads_best,
        defence=lambda defence: overrides(defence, "evaluated"),
        reason="its last weights come from the whole run and would take the place of the best checkpoint, which holds "
        "other weights than those that were measured",
        error="Expected a trainer that leaves the last weights for {title}, found load_best_model_at_end: the best "
        "checkpoint holds other weights than those that were measured. Set it to false, or leave {title} out.",
    ),
    Refusal(
        setup=lambda setup: setup.has_own_loss,
        defence=lambda defence: TOKENS in defence.decides,
        reason="it weights the tokens' cross-entropy, and this loss is another one",
        error="Expected a trainer whose loss is the tokens' cross-entropy, which {title} weights, found another loss "
        "(loss_type, label_smoothing_factor or compute_loss_func). Take that out, or leave {title} out.",
    ),
)


def check(setup: Setup, combination: Combination | None = None, plan: Plan | None = None) -> None:
    """Make sure that a set-up keeps a plan and defences in force.

    Raises:
        PlanError: it would not keep the plan in force; the message says what to do.
        ConfigError: the same of a defence.
    """
    if plan is not None and (row := refusal(setup, plan)) is not None:
        raise PlanError(row.error.format(optimizer=setup.optimizer))
    for defence in combination.defences if combination is not None else ():
        if (row := refusal(setup, type(defence))) is not None:
            raise ConfigError(row.error.format(title=defence.title, optimizer=setup.optimizer))


def refusal(setup: Setup, subject: Plan | type[Defence]) -> Refusal | None:
    """The first row of the table that applies."""
    rows = (row for row in REFUSALS if row.setup(setup))
    if isinstance(subject, Plan):
        return next((row for row in rows if row.plan(subject)), None)
    return next((row for row in rows if row.defence(subject)), None)


SETUPS = {
    "DDP": Setup(),
    "FSDP2": Setup(weights="sharded"),
    "ZeRO-1 and 2": Setup(steps_by_itself=True),
    "ZeRO-3": Setup(steps_by_itself=True, weights="absent"),
    "ZeRO-3, loaded in pieces, without LoRA": Setup(steps_by_itself=True, weights="absent", is_in_pieces=True),
    "DeepSpeed with an optimizer of its own": Setup(steps_by_itself=True, has_own_optimizer=True),
    "fp16 without clipping": Setup(scales_gradients=True),
    "GaLore, APOLLO": Setup(groups_by_itself=True),
    "LOMO, layerwise optimizers": Setup(groups_by_itself=True, steps_in_backward=True),
    "`load_best_model_at_end`": Setup(loads_best=True),
    "DFT's loss, label smoothing": Setup(has_own_loss=True),
}
"""The columns of `table`."""


def table() -> str:
    """What is in force where, in Markdown: every registered defence that acts while training, and plans."""
    lines = ["| | " + " | ".join(SETUPS) + " |", "|---" * (len(SETUPS) + 1) + "|"]
    lines += [f"| {subjects} | {' | '.join(cells)} |" for cells, subjects in _rows()]
    reasons = [f"{number}. {row.reason}" for number, row in enumerate(REFUSALS, 1)]
    return "\n".join([*lines, "", *reasons])


def _rows() -> Iterator[tuple[tuple[str, ...], str]]:
    """Cells, and what they hold for; defences with the same cells stand together."""
    plain = Plan(method="", model=PlanModel(id=""), entries=())
    yield _cells(plain), "plans without phases, such as ML-LR's"
    yield _cells(plain.model_copy(update={"phases": (Phase(until=0.5, entries=()),)})), "plans with phases (SWAT's)"
    together: dict[tuple[str, ...], list[str]] = {}
    for name in DEFENCES.names():
        if acts_in_training(DEFENCES.get(name)):
            together.setdefault(_cells(DEFENCES.get(name)), []).append(f"`{name}`")
    for cells, names in sorted(together.items(), key=lambda item: (-item[0].count(_YES), item[1])):
        yield cells, ", ".join(names)


_YES = "yes"


def _cells(subject: Plan | type[Defence]) -> tuple[str, ...]:
    rows = [refusal(setup, subject) for setup in SETUPS.values()]
    return tuple(_YES if row is None else f"refused ({REFUSALS.index(row) + 1})" for row in rows)
