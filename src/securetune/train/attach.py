"""Attach: put a plan and defences in force on a trainer the user already has.

Works on an unmodified `transformers.Trainer` or any subclass (TRL's SFT, DPO, GRPO ...): for a plan the trainer gets an
optimizer factory, which it calls itself, and one callback; for defences another callback, and where they change the
loss a wrapper around it. Everything else about the trainer stays as it was.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from securetune.defences.base.combination import Combination
from securetune.defences.base.interface import Defence, acts_in_training
from securetune.defences.base.run import Resources
from securetune.errors import ConfigError, PlanError, TopologyError
from securetune.models.adapters import targets
from securetune.models.reading import read_topology
from securetune.models.tensors import is_sharded, plain
from securetune.models.topology import Topology
from securetune.plans.plan import Plan
from securetune.train.callbacks import GiveBack
from securetune.train.coverage import Coverage, check_coverage, in_force, parameters_in_force, warn_of_rounding
from securetune.train.hooks import check_free, check_undefended, connect
from securetune.train.monitor import openings_of
from securetune.train.param_groups import Treatment, check_groups, freeze, scale_rates, treatments, unfreeze
from securetune.train.support import Setup, check

log = logging.getLogger(__name__)


def attach(
    trainer: Trainer,
    plan: Plan | None = None,
    *,
    defences: str | Sequence[str | Defence] = "",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    resources: Resources | None = None,
    total_steps: int | None = None,
) -> None:
    """Make `trainer` train by a plan and with defences; call it after the trainer is built and before `train()`.

    Everything is checked first: after an error the trainer is as it was. What a plan never trains has no gradients
    until training ends; then they are on again, as they were.

    Args:
        trainer: any Trainer whose optimizer has not been created yet.
        plan: the plan; its patterns are matched against the names of the model's weights, adapters go with theirs.
        defences: names joined by ``+``, such as ``guarded+kl_anchor`` or ``mine.py:MyDefence``; or a list of names and
            of defences made already, such as ``[MyDefence(), "ema"]``. Those that make a plan are not among them, as
            theirs is the argument before.
        settings: their settings by name, as under ``defence`` in a run's configuration.
        resources: what they may use; openings are found with its prompts where they are missing.
        total_steps: steps that phases and shares of the run are fractions of; by default the trainer's own total.

    Raises:
        PlanError: see `attach_plan`.
        RegistryError: no defence of that name.
        ConfigError: neither a plan nor a defence; a defence that acts before or after training, lacks something, cannot
            go with another, or that the set-up cannot keep in force (see `securetune.train.support`).
    """
    if plan is None and not defences:
        raise ConfigError(
            "Expected a plan or defences to attach, found neither. Give a plan, such as `Plan.load(...)`, or a defence "
            "such as defences='guarded'."
        )
    topology = _checked(trainer, plan) if plan is not None else None
    if defences:
        combination = Combination.of(defences, settings or {})
        check_free(trainer)
        _check_hooks(combination)
        connect(trainer, combination, _ready(trainer, combination, resources), plan=plan, total_steps=total_steps)
    if plan is not None:
        _put_in_force(trainer, plan, topology, total_steps)


def _check_hooks(combination: Combination) -> None:
    for hook, remedy in _ELSEWHERE.items():
        for defence in combination.with_hook(hook):
            raise ConfigError(f"Expected defences that act while training, found {defence.title}. {remedy}")
    for defence in combination.defences:
        if not acts_in_training(defence):
            raise ConfigError(
                f"Expected defences that act while training, found {defence.title}, which has nothing to do there. "
                "Leave it out, and attach nothing to train without a defence."
            )


def _ready(trainer: Trainer, combination: Combination, resources: Resources | None) -> Resources:
    """What the defences may use, checked, with the model's openings where these are missing."""
    resources = resources or Resources()
    setup = Setup.of(trainer)
    check(setup, combination)
    if trainer.processing_class is None and (resources.malicious or resources.safety_rows):
        raise ConfigError(
            "Expected a trainer with a tokenizer of its own as `processing_class`, found none. Give it one, so that "
            "the prompts of the resources can be read."
        )
    if resources.openings is None and resources.malicious and resources.benign:
        openings = openings_of(trainer, trainer.processing_class, resources.malicious, resources.benign)
        resources = replace(resources, openings=openings)
    combination.check(resources, setup.adapter)
    return resources


_ELSEWHERE = {
    "edit_plan": "Give the plan itself: `securetune plan` writes it.",
    "edit_data": "The trainer holds its rows already: mix the rows before you build it, or use securetune.fine_tune().",
    "select_rows": "The trainer holds its rows already: use securetune.fine_tune().",
    "inference_prompt": "Use its prompt when you generate.",
    "steer": "It acts when the tuned model answers: use `securetune run`.",
}
"""Hook that a trainer at hand cannot call -> what to do."""


def attach_plan(trainer: Trainer, plan: Plan, *, total_steps: int | None = None) -> None:
    """Make `trainer` train by `plan`, by the optimizer that it would have without one.

    Args:
        trainer: any Trainer whose optimizer has not been created yet.
        plan: the plan; its patterns are matched against the names of the model's weights, adapters go with theirs.
        total_steps: steps that the plan's phases are fractions of; by default the trainer's own total.

    Raises:
        PlanError: a pattern matches nothing, the plan is for another model, nothing is left to train, a module that the
            plan trains has nothing to train (see `securetune.train.coverage`), the optimizer exists already, or the
            set-up cannot keep the plan in force (see `securetune.train.support`).
    """
    _put_in_force(trainer, plan, _checked(trainer, plan), total_steps)


def _checked(trainer: Trainer, plan: Plan) -> Topology | None:
    """Check a plan and leave the trainer as it is; returns the model's topology where that can be read."""
    _check_trainer(trainer)
    setup = Setup.of(trainer)
    check(setup, plan=plan)
    model = trainer.model
    plan.check_patterns(name for target in targets(model).values() for name in target.names)
    treatments(model, plan, decayed=(), weight_decay=0.0)
    try:
        topology = read_topology(plain(model))
    except TopologyError:
        if plan.model.fingerprint is not None:
            raise
        return None
    plan.check_model(topology.fingerprint())
    check_coverage(Coverage.of(model, plan, topology), plan, topology)
    return topology


def _put_in_force(trainer: Trainer, plan: Plan, topology: Topology | None, total_steps: int | None) -> None:
    model = trainer.model
    callback = PlanCallback(trainer, plan, total_steps)
    callback.hold()
    if not trainer.is_deepspeed_enabled:  # DeepSpeed steps on float32 copies of its own
        warn_of_rounding(model, plan)
    own = trainer.optimizer_cls_and_kwargs
    trainer.optimizer_cls_and_kwargs = (functools.partial(_factory, trainer, plan, callback, own), {})
    trainer.callback_handler.callbacks.insert(0, callback)
    trainer.add_callback(GiveBack(lambda: unfreeze(trainer.model, callback.held)))
    modules = "" if topology is None else f"{in_force(Coverage.of(model, plan, topology))}; "
    log.info("The %r plan is in force: %s%s.", plan.method, modules, parameters_in_force(model, plan))


def _factory(
    trainer: Trainer, plan: Plan, callback: "PlanCallback", own: tuple[Any, Mapping[str, Any]] | None
) -> Callable[..., Optimizer]:
    """What the trainer calls, late, to get its optimizer; takes further arguments some trainers pass.

    `own` is the user's ``optimizer_cls_and_kwargs``.
    """

    def create(model: nn.Module, *_: object, **__: object) -> Optimizer:
        callback.hold()  # a trainer with `model_init` has made the model anew
        groups = treatments(
            model,
            plan,
            decayed=set(trainer.get_decay_parameter_names(model)),
            weight_decay=trainer.args.weight_decay,
        )
        kind, options = own or trainer.get_optimizer_cls_and_kwargs(trainer.args, model)
        if not isinstance(kind, type):
            raise PlanError(
                f"Expected an optimizer made of parameter groups, found the factory {kind!r} for "
                f"--optim {trainer.args.optim}. Choose another, such as adamw_torch."
            )
        optimizer: Optimizer = kind([group.as_group() for group in groups], **options)
        scale_rates(optimizer, groups)
        optimizer.register_load_state_dict_pre_hook(lambda _, state: check_groups(groups, state["param_groups"]))
        if "bitsandbytes" in str(kind) and options.get("optim_bits") == 8:
            _keep_embeddings_whole(model)
        callback.groups = groups
        return optimizer

    return create


def _keep_embeddings_whole(model: nn.Module) -> None:
    """Give embeddings 32-bit states, as the trainer does with an 8-bit optimizer that it makes itself."""
    from bitsandbytes.optim import GlobalOptimManager

    manager = GlobalOptimManager.get_instance()
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})


class PlanCallback(TrainerCallback):
    """Applies the plan's phases, logs every group's rate, and stops when the plan is not in force."""

    def __init__(self, trainer: Trainer, plan: Plan, total_steps: int | None) -> None:
        self.plan = plan
        self._trainer = trainer
        self.held: set[str] = set()
        """What had gradients before the plan switched them off."""
        self.groups: list[Treatment] = []
        self._total_steps = total_steps
        self._base_rates: list[float] = []

    def hold(self) -> None:
        """Switch gradients off where the plan never trains."""
        self.held |= freeze(self._trainer.model, self.plan)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check that the optimizer really has the plan's groups."""
        self.hold()  # an earlier training has given the model back
        check_undefended(self._trainer, args, state)
        optimizer = kwargs.get("optimizer")
        stored = optimizer.param_groups if optimizer is not None else []
        if not self.groups or len(stored) != len(self.groups):
            raise PlanError(
                f"Expected the optimizer to hold the plan's {len(self.groups)} parameter groups, found {len(stored)}: "
                "the plan is not in force. Call attach() before train() and do not pass an optimizer of your own."
            )
        check_groups(self.groups, stored)
        if self.plan.phases and is_sharded(kwargs["model"]):
            log.warning(
                "Where FSDP shards a model, PyTorch cannot resume from a checkpoint that was written while a phase "
                "held modules still (before %.0f %% of the steps): save later, or use DDP.",
                100 * self.plan.phases[-1].until,
            )

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set this step's rates; a group whose multiplier is 0 now gets no gradient, hence no update at all."""
        stage, groups = self._stage(state), kwargs["optimizer"].param_groups
        self._base_rates = [group["lr"] for group in groups]
        for treatment, group in zip(self.groups, groups, strict=True):
            if treatment.lr_scale[stage] == 0:
                for parameter in group["params"]:
                    parameter.grad = None
            else:
                group["lr"] = self._rate(treatment, group["lr"], stage)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Give the scheduler back the rates it knows."""
        for group, rate in zip(kwargs["optimizer"].param_groups, self._base_rates, strict=True):
            group["lr"] = rate

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Add ``lr/<group>`` to training logs; the trainer alone would show the first group's rate only."""
        logs = kwargs.get("logs") or {}
        if "loss" not in logs or not self._base_rates:
            return
        stage = self._stage(state, finished=True)
        rates = {
            f"lr/{treatment.label}": float(self._rate(treatment, rate, stage))
            for treatment, rate in zip(self.groups, self._base_rates, strict=True)
        }
        logs.update(rates)
        if state.log_history:
            state.log_history[-1].update(rates)

    def _stage(self, state: TrainerState, *, finished: bool = False) -> int:
        step = state.global_step - (1 if finished else 0)
        return self.plan.stage_at(step, self._total_steps or state.max_steps)

    @staticmethod
    def _rate(treatment: Treatment, scheduled: float, stage: int) -> float:
        """The rate at a stage, from the one the scheduler set."""
        return scheduled * treatment.lr_scale[stage] / treatment.reference


def _check_trainer(trainer: Trainer) -> None:
    if trainer.optimizer is not None:
        raise PlanError(
            "Expected a trainer without an optimizer, found one. Call attach() before train() and leave `optimizers` "
            "out."
        )
    if any(isinstance(c, PlanCallback) for c in trainer.callback_handler.callbacks):
        raise PlanError("Expected a trainer without a plan, found one attached already. Build a new trainer.")
