"""Attach: put a plan and defences in force on a trainer the user already has.

Works on an unmodified `transformers.Trainer` or any subclass (TRL's SFT, DPO, GRPO ...): for a plan the trainer gets an
optimizer factory, which it calls itself, and one callback; for defences another callback, and where they change the
loss a wrapper around it. Everything else about the trainer stays as it was.
"""

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from securetune.defences.base.combination import Combination
from securetune.defences.base.interface import Defence
from securetune.defences.base.run import Resources
from securetune.errors import ConfigError, PlanError
from securetune.models.reading import read_topology
from securetune.models.tensors import is_sharded, plain
from securetune.plans.plan import Plan
from securetune.train.hooks import connect
from securetune.train.monitor import openings_of
from securetune.train.param_groups import Treatment, freeze, optimizer_groups, treatments
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

    Args:
        trainer: any Trainer whose optimizer has not been created yet.
        plan: the plan; its patterns are matched against the model's parameter names.
        defences: names joined by ``+``, such as ``guarded+kl_anchor`` or ``mine.py:MyDefence``; or a list of names and
            of defences made already, such as ``[MyDefence(), "ema"]``. Those that make a plan are not among them, as
            theirs is the argument before.
        settings: their settings by name, as under ``defence`` in a run's configuration.
        resources: what they may use; openings are found with its prompts where they are missing.
        total_steps: steps that phases and shares of the run are fractions of; by default the trainer's own total.

    Raises:
        PlanError: see `attach_plan`.
        RegistryError: no defence of that name.
        ConfigError: a defence that acts before or after training, lacks something, cannot go with another, or that the
            set-up cannot keep in force (see `securetune.train.support`).
    """
    if plan is not None:
        attach_plan(trainer, plan, total_steps=total_steps)
    if not defences:
        return
    combination = Combination.of(defences, settings or {})
    for hook, remedy in _ELSEWHERE.items():
        for defence in combination.with_hook(hook):
            raise ConfigError(f"Expected defences that act while training, found {defence.title}. {remedy}")
    resources = resources or Resources()
    if trainer.processing_class is None and (resources.malicious or resources.safety_rows):
        raise ConfigError(
            "Expected a trainer with a tokenizer of its own as `processing_class`, found none. Give it one, so that "
            "the prompts of the resources can be read."
        )
    if resources.openings is None and resources.malicious and resources.benign:
        openings = openings_of(trainer, trainer.processing_class, resources.malicious, resources.benign)
        resources = replace(resources, openings=openings)
    combination.check(resources, Setup.of(trainer).adapter)
    connect(trainer, combination, resources, plan=plan, total_steps=total_steps)


_ELSEWHERE = {
    "edit_plan": "Give the plan itself: `securetune plan` writes it.",
    "edit_data": "The trainer holds its rows already: mix the rows before you build it, or use securetune.fine_tune().",
    "inference_prompt": "Use its prompt when you generate.",
    "steer": "It acts when the tuned model answers: use `securetune run`.",
}
"""Hook that a trainer at hand cannot call -> what to do."""


def attach_plan(trainer: Trainer, plan: Plan, *, total_steps: int | None = None) -> None:
    """Make `trainer` train by `plan`.

    Args:
        trainer: any Trainer whose optimizer has not been created yet.
        plan: the plan; its patterns are matched against the model's parameter names.
        total_steps: steps that the plan's phases are fractions of; by default the trainer's own total.

    Raises:
        PlanError: a pattern matches nothing, the plan is for another model, nothing is left to train, the optimizer
            exists already, or the set-up cannot keep the plan in force (see `securetune.train.support`).
    """
    _check_trainer(trainer)
    check(Setup.of(trainer), plan=plan)
    model = trainer.model
    plan.check_patterns(name for name, _ in model.named_parameters())
    if plan.model.fingerprint is not None:
        plan.check_model(read_topology(plain(model)).fingerprint())
    freeze(model, plan)
    callback = PlanCallback(plan, total_steps)
    treatments(model.named_parameters(), plan, decayed=(), weight_decay=0.0)
    trainer.optimizer_cls_and_kwargs = (functools.partial(_factory, trainer, plan, callback), {})
    trainer.callback_handler.callbacks.insert(0, callback)


def _factory(trainer: Trainer, plan: Plan, callback: "PlanCallback") -> Any:
    """What the trainer calls, late, to get its optimizer; takes further arguments some trainers pass."""

    def create(model: nn.Module, *_: object, **__: object) -> Optimizer:
        groups = treatments(
            model.named_parameters(),
            plan,
            decayed=set(trainer.get_decay_parameter_names(model)),
            weight_decay=trainer.args.weight_decay,
        )
        cls, kwargs = trainer.get_optimizer_cls_and_kwargs(trainer.args, model)
        if not isinstance(cls, type):
            raise PlanError(
                f"Expected an optimizer made of parameter groups, found the factory {cls!r} for "
                f"--optim {trainer.args.optim}. Choose another, such as adamw_torch."
            )
        callback.groups = groups
        return cls(optimizer_groups(groups, trainer.args.learning_rate), **kwargs)

    return create


class PlanCallback(TrainerCallback):
    """Applies the plan's phases, logs every group's rate, and stops when the plan is not in force."""

    def __init__(self, plan: Plan, total_steps: int | None) -> None:
        self.plan = plan
        self.groups: list[Treatment] = []
        self._total_steps = total_steps
        self._base_rates: list[float] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check that the optimizer really has the plan's groups."""
        optimizer = kwargs.get("optimizer")
        count = len(optimizer.param_groups) if optimizer is not None else 0
        if not self.groups or count != len(self.groups):
            raise PlanError(
                f"Expected the optimizer to hold the plan's {len(self.groups)} parameter groups, found {count}: the "
                "plan is not in force. Call attach() before train() and do not pass an optimizer of your own."
            )
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
            f"lr/{treatment.label}": self._rate(treatment, rate, stage)
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
