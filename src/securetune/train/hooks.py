"""Hooks: put a combination of defences in force on a trainer the user already has."""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from securetune.data.prompts import Example
from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.combination import Combination
from securetune.defences.base.needs import REFERENCE
from securetune.defences.base.run import Resources, TrainingRun
from securetune.errors import ConfigError, TrainingError
from securetune.models.tensors import IGNORED, in_evaluation, is_sharded, whole
from securetune.plans.plan import Plan
from securetune.train.callbacks import GiveBack
from securetune.train.support import Setup, check

STATE_FILE = "defences.pt"


def connect(
    trainer: Trainer,
    combination: Combination,
    resources: Resources,
    *,
    plan: Plan | None = None,
    rows: Sequence[Example] = (),
    total_steps: int | None = None,
) -> None:
    """Let `trainer` call the defences' hooks; call it before `train()`.

    Args:
        trainer: any Trainer on batches with ``input_ids`` and ``labels``.
        combination: the defences.
        resources: what they may use beyond the task's rows.
        plan: the plan in force, where there is one.
        rows: the task's rows, for defences that read them.
        total_steps: steps that shares of the run refer to; by default the trainer's own total.

    Raises:
        ConfigError: a defence that the set-up cannot keep in force, see `securetune.train.support`; or the trainer has
            defences already.
    """
    check_free(trainer)
    setup = Setup.of(trainer)
    check(setup, combination)
    ranks = int(trainer.accelerator.num_processes // trainer.get_tp_size())
    run = TrainingRun(
        model=trainer.model,
        tokenizer=trainer.processing_class,
        reference=_reference(trainer.model, is_needed=REFERENCE in combination.needs),
        resources=resources,
        plan=plan,
        rows=rows,
        total_steps=total_steps or trainer.args.max_steps,
        batch_size=trainer.args.per_device_train_batch_size,
        rank=trainer.accelerator.process_index % ranks,
        ranks=ranks,
        max_length=getattr(trainer.args, "max_length", None) or 512,
        seed=trainer.args.seed,
    )
    callbacks = trainer.callback_handler.callbacks
    place = next((i for i, callback in enumerate(callbacks) if isinstance(callback, GiveBack)), len(callbacks))
    callbacks.insert(place, DefenceCallback(trainer, combination, run, setup))
    if combination.with_hook("evaluated"):
        trainer.evaluate = functools.partial(_evaluate, combination, run, trainer.evaluate)  # type: ignore[method-assign]
    if combination.with_hook("loss") or combination.with_hook("edit_batch"):
        # The trainer counts the tokens of all processes, whose gradients are then averaged, unless told not to.
        times = ranks if trainer.args.average_tokens_across_devices else 1
        trainer.compute_loss = _Loss(combination, run, trainer.compute_loss, times)  # type: ignore[method-assign]


def check_free(trainer: Trainer) -> None:
    """Make sure that a trainer has no defences yet: others beside them would act twice, and share one state.

    Raises:
        ConfigError: it has.
    """
    if any(isinstance(callback, DefenceCallback) for callback in trainer.callback_handler.callbacks):
        raise ConfigError(
            "Expected a trainer without defences, found some attached already. Name all of them in one call, or build "
            "a new trainer."
        )


def check_undefended(trainer: Trainer, args: TrainingArguments, state: TrainerState) -> None:
    """Make sure that a checkpoint that was written with defences is not gone on from without any.

    Raises:
        TrainingError: it is.
    """
    path = _checkpoint(args, state) / STATE_FILE
    has_defences = any(isinstance(callback, DefenceCallback) for callback in trainer.callback_handler.callbacks)
    if not state.global_step or has_defences or not path.exists():
        return
    stored = torch.load(path, weights_only=True)
    if isinstance(stored, dict):  # a list names no defences
        _check_same(path, before=stored["defences"], now=[])


class DefenceCallback(TrainerCallback):
    """Calls the hooks at their moments and keeps the defences' state beside every checkpoint."""

    def __init__(self, trainer: Trainer, combination: Combination, run: TrainingRun, setup: Setup) -> None:
        self._trainer, self._combination, self._run, self._setup = trainer, combination, run, setup

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Prepare the defences; after a kill, load their state."""
        if is_sharded(self._run.model):  # by something that did not show before training
            check(replace(self._setup, weights="sharded"), self._combination)
        if self._trainer.model_init is not None:
            self._follow_new_model(is_fresh=not state.global_step)
        self._run.step, self._run.has_ended = state.global_step, False
        self._run.total_steps = self._run.total_steps if self._run.total_steps > 0 else state.max_steps
        self._combination.begin(self._run)
        if state.global_step:
            self._resume(_checkpoint(args, state) / STATE_FILE)

    def _resume(self, path: Path) -> None:
        """Go on with the state of a checkpoint, where it is of the same defences."""
        if not path.exists():
            if self._combination.with_hook("state"):
                raise TrainingError(
                    f"Expected the defences' state in {path}, found none. Resume from a checkpoint that was written "
                    "with the same defences, or start anew."
                )
            return
        stored = torch.load(path, weights_only=True)
        if isinstance(stored, dict):  # a list names no defences
            _check_same(path, before=stored["defences"], now=self._named())
            stored = stored["state"]
        if self._combination.with_hook("state"):
            self._combination.load_state([_sharded(entry, self._run.trainable()) for entry in stored])

    def _named(self) -> list[str]:
        """The defences with their settings."""
        return [f"{defence.title} ({defence.settings!r})" for defence in self._combination.defences]

    def _follow_new_model(self, *, is_fresh: bool) -> None:
        """Go on with the model that the trainer has made anew; a resumed one is no longer what it was before tuning."""
        model = self._trainer.model
        if is_fresh or hasattr(model, "disable_adapter"):
            self._run.reference = _reference(model, is_needed=REFERENCE in self._combination.needs)
        self._run.model = model

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Let the defences change the gradients."""
        self._combination.gradients(self._run)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Let the defences act after a step."""
        self._run.step = state.global_step
        self._combination.step(self._run)
        control.should_training_stop = control.should_training_stop or self._run.is_over

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Keep the defences' names and state with the checkpoint."""
        defences = _whole(self._combination.state())  # every process takes part
        if state.is_world_process_zero:
            torch.save({"defences": self._named(), "state": defences}, _checkpoint(args, state) / STATE_FILE)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Let the defences change the final weights; the trainer goes on with the model they leave."""
        self._combination.finalize(self._run)
        self._run.has_ended = True
        if self._run.model is not self._trainer.model:
            self._trainer.model = self._trainer.model_wrapped = self._run.model


def _check_same(path: Path, *, before: Sequence[str], now: Sequence[str]) -> None:
    if list(before) != list(now):
        raise TrainingError(
            f"Expected the state of {', '.join(now) or 'no defence'} in {path}, found that of "
            f"{', '.join(before) or 'no defence'}. Resume with the "
            "defences and the settings that it was written with, or start anew from its weights."
        )


def _whole(state: Any) -> Any:
    """State with the whole of every tensor that is sharded over processes."""
    if isinstance(state, Tensor):
        return whole(state)
    if isinstance(state, dict):
        return {name: _whole(value) for name, value in state.items()}
    return [_whole(value) for value in state] if isinstance(state, list) else state


def _sharded(state: Any, parameters: Mapping[str, nn.Parameter]) -> Any:
    """State with every tensor that is kept under a parameter's name sharded as that parameter is."""
    if not isinstance(state, dict):
        return state
    shards = {name: _sharded(value, parameters) for name, value in state.items()}
    for name, value in shards.items():
        like = parameters.get(name)
        if isinstance(like, DTensor) and isinstance(value, Tensor):
            shards[name] = distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return shards


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _evaluate(
    combination: Combination, run: TrainingRun, evaluate: Callable[..., Any], *args: Any, **options: Any
) -> Any:
    if not run.step or run.has_ended:
        return evaluate(*args, **options)
    with combination.evaluated(run):
        return evaluate(*args, **options)


@dataclass(frozen=True)
class _Loss:
    """The trainer's loss on the batch that the defences choose, plus their terms; its own in evaluation."""

    combination: Combination
    run: TrainingRun
    compute_loss: Callable[..., Any]
    """The trainer's own."""
    times: int
    """By how much a term is scaled up where the trainer counts the tokens of an optimizer step."""

    def __call__(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        if not model.training:
            return self.compute_loss(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )
        if "labels" not in inputs:
            raise ConfigError(
                f"Expected batches with labels for defences that change the loss, found {sorted(inputs)}: this trainer "
                "has a loss of its own. Leave those defences out; plans and `guarded` work with it."
            )
        share = _share(inputs, num_items_in_batch)
        batch = self.combination.edit_batch(self.run, inputs)
        if batch is inputs:
            loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        else:
            loss = share * self.compute_loss(model, batch, num_items_in_batch=_answer_tokens(batch))
        tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        term = self.combination.loss(TokenBatch(run=self.run, inputs=tensors))
        return loss if term is None else loss + (1 if num_items_in_batch is None else self.times) * share * term


def _share(inputs: dict[str, Any], num_items_in_batch: Tensor | int | None) -> Tensor | float:
    """How much of an optimizer step's answer tokens are in this batch; the trainer sums over the batches of a step."""
    return 1.0 if num_items_in_batch is None else _answer_tokens(inputs) / num_items_in_batch


def _answer_tokens(inputs: dict[str, Any]) -> Tensor:
    count: Tensor = (inputs["labels"][:, 1:] != IGNORED).sum()
    return count


def _reference(model: Any, *, is_needed: bool) -> Callable[[], AbstractContextManager[nn.Module]]:
    """Gives the model as it is now, later: with its adapter switched off, or a copy where there is none."""
    is_adapted = hasattr(model, "disable_adapter")
    frozen = None if is_adapted or not is_needed else _frozen_copy(model)

    @contextmanager
    def reference() -> Iterator[nn.Module]:
        if is_adapted:
            with model.disable_adapter(), in_evaluation(model):
                yield model
        else:
            assert frozen is not None, "this defence has to declare that it needs the reference model"
            yield frozen

    return reference


def _frozen_copy(model: nn.Module) -> nn.Module:
    """A copy that computes with its own weights: a forward pass that a trainer has put on a module is bound to that."""
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    for module in frozen.modules():
        vars(module).pop("forward", None)
    return frozen
