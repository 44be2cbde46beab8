"""SFT: the package's own training run, TRL's trainer with a plan attached.

Arms are compared at matched task loss: plain tuning sets a target on held-out rows, every other arm trains until it
reaches it. The rate stays constant after warm-up, so stopping early is not stopping half-way down a schedule.
"""

import logging
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
)
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

from securetune.data.prompts import Example
from securetune.defences.base.combination import Combination
from securetune.defences.base.run import Resources, TrainingRun
from securetune.errors import DataError
from securetune.measures.loss_target import LossTarget
from securetune.plans.plan import Plan
from securetune.train.arrow import arrow_folder, arrow_rows, drop_stages
from securetune.train.attach import attach_plan
from securetune.train.callbacks import Cost, NoCheckpointAtTheEnd, ShowProgress, StopAtLoss, StopAtNaN
from securetune.train.checkpoints import SealCheckpoints, drop_unsealed, finished_result, save_finished, work_folder
from securetune.train.config import TrainConfig
from securetune.train.hooks import connect
from securetune.train.monitor import monitor
from securetune.train.result import TrainResult
from securetune.train.trackers import curves_beside

log = logging.getLogger(__name__)

_MONITORED = 32
"""Prompts of each kind that the monitor reads."""
_LOGGED = {"loss", "eval_loss", "eval_safety_margin"}
_OF_THE_PROCESS = ("_runtime", "_per_second", "_time", "num_tokens")  # TRL counts tokens from 0 in a resumed process


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What a model is tuned on, how far, and what is in force meanwhile."""

    rows: Sequence[Example]
    """Rows of the task."""
    held_out: Sequence[Example]
    """Rows on which its loss is measured."""
    target: LossTarget | None = None
    """The held-out loss at which tuning stops; without one it takes all its steps."""
    seed: int = 0
    """Of the order of the rows, and of what defences draw."""
    plan: Plan | None = None
    """The learning rates."""
    defences: Combination = field(default_factory=lambda: Combination([]))
    """What acts through its hooks; a plan that it would make is given as `plan`."""
    resources: Resources = field(default_factory=Resources)
    """What the defences and the monitor may use."""
    monitor_every: int = 0
    """Steps between entries ``eval_safety_*`` of the log, measured on prompts of the resources; 0 for none."""


def fine_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tuning: Tuning,
    config: TrainConfig,
    *,
    output: Path,
    run_key: str = "",
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainResult:
    """Tune `model` in place and save the adapter (or the whole model) into `output`.

    A whole model is tuned, and saved, in float32: in 16 bits the small steps of held modules round away.
    Checkpoints lie in a folder beside `output` until the run is finished; a killed run goes on from the last one.
    `run_key` names that folder: give runs with different inputs different keys. Under a key, a finished run whose
    model still lies in `output` as it left it is not repeated; `model` then stays as it is.

    Raises:
        TrainingError: the loss stops being finite.
        DataError: no row has any of its answer within the longest length.
        ConfigError: a defence lacks what it needs.
        PlanError: see `attach`.
    """
    tuning.defences.check(tuning.resources, config.adapter)
    config = _in_float32(model, config)
    work = work_folder(output, run_key)
    if (finished := finished_result(work, output, run_key)) is not None:
        return finished
    drop_unsealed(work)
    with curves_beside(output):
        trainer = _trainer(model, tokenizer, tuning, config, work, [StopAtNaN(), *callbacks])
    trainer.args.run_name = output.name  # trackers call the run so
    trainer.add_callback(ShowProgress(f"Tune {output.name}"))
    _put_in_force(trainer, tuning, config)
    meter = Cost()
    trainer.add_callback(meter)  # after the defences, so that what they do counts
    trainer.add_callback(SealCheckpoints())  # the last one, when all have written
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    start_loss = tuning.target.start if tuning.target is not None else trainer.evaluate()["eval_loss"]
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(work)) if work.exists() else None)
    cost = meter.to_dict()  # before the last measurement, whose memory is not training's
    trained = {id(p): p.numel() for group in trainer.optimizer.param_groups for p in group["params"]}
    loss = trainer.evaluate()["eval_loss"]
    result = TrainResult(
        steps=trainer.state.global_step,
        task_loss=loss,
        start_loss=start_loss,
        trainable=sum(trained.values()),
        log=[_of_the_training(entry) for entry in trainer.state.log_history if _LOGGED & entry.keys()],
        cost=cost,
    )
    save_finished(lambda folder: trainer.save_model(str(folder)), result, work, output, run_key)
    return result


def _in_float32(model: PreTrainedModel, config: TrainConfig) -> TrainConfig:
    """Give a model whose weights train themselves float32 weights; a 16-bit one goes on computing in 16 bits."""
    is_coarse = any(parameter.dtype in (torch.bfloat16, torch.float16) for parameter in model.parameters())
    if config.adapter != "full" or not is_coarse or getattr(model, "is_quantized", False):
        return config
    model.float()
    has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return config.model_copy(update={"bf16": config.bf16 or has_bf16})


def _of_the_training(entry: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in entry.items() if not key.endswith(_OF_THE_PROCESS)}


def _trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tuning: Tuning,
    config: TrainConfig,
    work: Path,
    callbacks: Sequence[TrainerCallback],
) -> SFTTrainer:
    """TRL's trainer on the rows that the defences make of the task's; it shows nothing by itself."""
    rows = _rows(model, tokenizer, tuning, config)
    folder = arrow_folder(work)
    trainer = SFTTrainer(
        model=model,
        args=_arguments(config, work, tuning.seed, matching=tuning.target is not None),
        train_dataset=arrow_rows(rows, folder / "train.arrow"),
        eval_dataset=arrow_rows(tuning.held_out, folder / "held_out.arrow"),
        processing_class=tokenizer,
        peft_config=_lora(config) if config.adapter == "lora" else None,
        callbacks=list(callbacks),
    )
    drop_stages(folder, [trainer.train_dataset, trainer.eval_dataset])
    _tell_dropped("to tune on", trainer.train_dataset, rows, config.max_length)
    _tell_dropped("held out", trainer.eval_dataset, tuning.held_out, config.max_length)
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    return trainer


def _rows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tuning: Tuning, config: TrainConfig
) -> Sequence[Example]:
    """What the defences make of the task's rows, and leave of them by the model before tuning."""
    rows = tuning.defences.edit_data(tuning.rows, tuning.resources.safety_rows, tuning.seed)
    if not tuning.defences.with_hook("select_rows"):
        return rows
    run = TrainingRun(
        model=model.eval(),
        tokenizer=tokenizer,
        reference=lambda: nullcontext(model),
        resources=tuning.resources,
        total_steps=config.steps,
        max_length=config.max_length,
        seed=tuning.seed,
    )
    return tuning.defences.select_rows(run, rows)


def _tell_dropped(which: str, kept: Dataset, rows: Sequence[Example], max_length: int) -> None:
    """Say how many rows the trainer has left out, as nothing of their answers is within the longest length.

    Raises:
        DataError: all of them.
    """
    if not len(kept):
        raise DataError(
            f"Expected rows {which} with some of their answer within {max_length} tokens, found none of {len(rows)}. "
            "Raise train.max_length."
        )
    if len(kept) < len(rows):
        dropped = len(rows) - len(kept)
        log.warning(
            "%d of %d rows %s are dropped: their prompts fill max_length (%d tokens)",
            dropped,
            len(rows),
            which,
            max_length,
        )


def _put_in_force(trainer: SFTTrainer, tuning: Tuning, config: TrainConfig) -> None:
    """The target, the plan, the defences and the monitor."""
    plan, resources = tuning.plan, tuning.resources
    if tuning.target is not None:
        trainer.add_callback(StopAtLoss(tuning.target, config.eval_every))
    trainer.add_callback(NoCheckpointAtTheEnd())
    connect(trainer, tuning.defences, resources, plan=plan, rows=tuning.rows, total_steps=config.steps)
    if plan is not None:
        attach_plan(trainer, plan, total_steps=config.steps)
    if tuning.monitor_every and resources.openings is not None:
        prompts = (resources.malicious[:_MONITORED], resources.benign[:_MONITORED])
        monitor(trainer, *prompts, every=tuning.monitor_every, openings=resources.openings)


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
        seed=seed,
        data_seed=seed,
        report_to=list(config.report_to) or "none",
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
