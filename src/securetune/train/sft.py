"""SFT: the package's own training run, TRL's trainer with a plan attached.

Arms are compared at matched task loss: plain tuning sets a target on held-out rows, every other arm trains until it
reaches it. The rate stays constant after warm-up, so stopping early is not stopping half-way down a schedule.
"""

import json
import logging
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

from securetune.base.progress import progress_bar
from securetune.data.prompts import Example
from securetune.defences.base.combination import Combination
from securetune.defences.base.run import Resources
from securetune.errors import TrainingError
from securetune.measures.loss_target import LossTarget
from securetune.plans.plan import Plan
from securetune.train.attach import attach_plan
from securetune.train.config import TrainConfig
from securetune.train.hooks import STATE_FILE, connect
from securetune.train.monitor import monitor
from securetune.train.result import TrainResult

log = logging.getLogger(__name__)

_NEAR = 1.25
_MONITORED = 32
"""Prompts of each kind that the monitor reads."""
_LOGGED = {"loss", "eval_loss", "eval_safety_margin"}


class StopAtLoss(TrainerCallback):
    """Ends training when the held-out loss has reached the target.

    It looks more often when the loss is near. It keeps no state of its own, so a resumed run looks at the same steps
    as an uninterrupted one.
    """

    def __init__(self, target: LossTarget, every: int) -> None:
        self.target, self.every = target, every

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Ask for a measurement when one is due."""
        seen = (entry["eval_loss"] for entry in reversed(state.log_history) if "eval_loss" in entry)
        is_near = next(seen, math.inf) < self.target.plain * _NEAR
        interval = max(1, self.every // 5) if is_near else self.every
        control.should_evaluate = control.should_evaluate or state.global_step % interval == 0

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Stop at the target."""
        if self.target.is_reached((given.get("metrics") or {}).get("eval_loss", math.inf)):
            control.should_training_stop = True


class NoCheckpointAtTheEnd(TrainerCallback):
    """Keeps no checkpoint of the last step: the trainer, resuming from one, would train a step too many."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Take back the save that the trainer plans for its last step."""
        control.should_save = control.should_save and not control.should_training_stop

    on_evaluate = on_step_end
    """The same where a measurement has ended training; the save comes after it."""


class StopAtNaN(TrainerCallback):
    """Stops with an error at the first loss that is not a finite number."""

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Check what has just been logged."""
        for name in ("loss", "grad_norm"):
            value = (given.get("logs") or {}).get(name)
            if value is not None and not math.isfinite(value):
                raise TrainingError(
                    f"Expected a finite {name} at step {state.global_step}, found {value}. Lower train.learning_rate "
                    f"(now {args.learning_rate:g}), use bf16 instead of float16, or look for empty answers in the data."
                )


class Cost(TrainerCallback):
    """Time per optimizer step, without measurements and checkpoints, and the peak of the GPU's memory."""

    WARM_UP = 2
    """Steps that do not count."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._begun = 0.0

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Start the clock."""
        self._begun = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Stop it."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._times.append(time.perf_counter() - self._begun)

    def to_dict(self) -> dict[str, float | None]:
        """Seconds per step, and bytes."""
        times = self._times[self.WARM_UP :] or self._times or [math.nan]
        memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
        return {"step_seconds": sum(times) / len(times), "memory": memory}


class ShowProgress(TrainerCallback):
    """One progress bar with the time left and the latest loss, in place of the trainer's own lines."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._progress = progress_bar()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Show the bar."""
        self._progress.start()
        self._task = self._progress.add_task(self._description, total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Move on by a step."""
        self._progress.update(self._task, completed=state.global_step)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Put the latest loss beside the bar."""
        logs = given.get("logs") or {}
        if "loss" in logs and not self._progress.finished:
            self._progress.update(self._task, description=f"{self._description} loss {float(logs['loss']):.3f}")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Take the bar away."""
        self._progress.stop()


def fine_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    config: TrainConfig,
    *,
    output: Path,
    plan: Plan | None = None,
    defences: Combination | None = None,
    resources: Resources | None = None,
    target: LossTarget | None = None,
    seed: int = 0,
    run_key: str = "",
    monitor_every: int = 0,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainResult:
    """Tune `model` in place and save the adapter (or the whole model) into `output`.

    Checkpoints lie in a folder beside `output` until the run is finished; a killed run goes on from the last one.
    `run_key` names that folder: give runs with different inputs different keys. `defences` act through their hooks with
    what `resources` hold; the learning rates are the plan's matter. With `monitor_every` the log gets ``eval_safety_*``
    every so many steps, on prompts of the resources.

    Raises:
        TrainingError: the loss stops being finite.
        ConfigError: a defence lacks what it needs.
        PlanError: see `attach`.
    """
    defences, resources = defences or Combination([]), resources or Resources()
    defences.check(resources, config.adapter)
    work = output.with_name(f".{output.name}{run_key}.partial")
    _drop_half_checkpoints(work, STATE_FILE if defences.with_hook("state") else "trainer_state.json")
    tuned_on = defences.edit_data(examples, resources.safety_rows, seed)
    trainer = SFTTrainer(
        model=model,
        args=_arguments(config, work, seed, matching=target is not None),
        train_dataset=Dataset.from_list(list(tuned_on)),
        eval_dataset=Dataset.from_list(list(held_out)),
        processing_class=tokenizer,
        peft_config=_lora(config) if config.adapter == "lora" else None,
        callbacks=[StopAtNaN(), *callbacks],
    )
    for shown_otherwise in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(shown_otherwise)
    trainer.add_callback(ShowProgress(f"Tune {output.name}"))
    if target is not None:
        trainer.add_callback(StopAtLoss(target, config.eval_every))
    trainer.add_callback(NoCheckpointAtTheEnd())
    if plan is not None:
        attach_plan(trainer, plan, total_steps=config.steps)
    connect(trainer, defences, resources, plan=plan, rows=examples, total_steps=config.steps)
    if monitor_every and resources.openings is not None:
        shown = (resources.malicious[:_MONITORED], resources.benign[:_MONITORED])
        monitor(trainer, *shown, every=monitor_every, openings=resources.openings)
    cost = Cost()
    trainer.add_callback(cost)  # the last one, so that what the defences do counts
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    start_loss = target.start if target is not None else trainer.evaluate()["eval_loss"]
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(work)) if work.exists() else None)
    spent = cost.to_dict()
    loss = trainer.evaluate()["eval_loss"]
    result = TrainResult(
        steps=trainer.state.global_step,
        task_loss=loss,
        start_loss=start_loss,
        trainable=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        log=[entry for entry in trainer.state.log_history if _LOGGED & entry.keys()],
        cost=spent,
    )
    finished = work / "finished"
    trainer.save_model(str(finished))
    if output.exists():
        shutil.rmtree(output)
    finished.replace(output)
    shutil.rmtree(work)
    return result


def _arguments(config: TrainConfig, work: Path, seed: int, *, matching: bool) -> SFTConfig:
    return SFTConfig(
        output_dir=str(work),
        max_steps=math.ceil(config.steps * config.match_max_factor) if matching else config.steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=config.warmup_steps,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=max(config.batch_size, 32),
        gradient_accumulation_steps=config.gradient_accumulation,
        weight_decay=config.weight_decay,
        max_length=config.max_length,
        bf16=config.bf16,
        gradient_checkpointing=config.gradient_checkpointing,
        logging_steps=max(1, config.steps // 20),
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.save_every,
        save_total_limit=1,
        seed=seed,
        data_seed=seed,
        report_to="none",
        completion_only_loss=True,
        dataloader_pin_memory=False,
    )


def _lora(config: TrainConfig) -> LoraConfig:
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _drop_half_checkpoints(work: Path, last: str) -> None:
    """Remove checkpoints that a kill left without their last-written file."""
    for checkpoint in work.glob("checkpoint-*"):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
            (checkpoint / last).stat()
        except (OSError, ValueError):
            log.warning("Dropping the unfinished checkpoint %s", checkpoint)
            shutil.rmtree(checkpoint)
