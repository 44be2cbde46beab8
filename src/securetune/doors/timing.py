"""Timing: how long does a step of tuning take on this machine, and how many rows fit in memory at once?"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.utils import is_torch_bf16_gpu_available

from securetune.config import RunConfig
from securetune.data.examples import load_source
from securetune.errors import MachineError
from securetune.models.loading import load_model, load_tokenizer
from securetune.train.config import TrainConfig
from securetune.train.sft import Tuning, fine_tune

_STEPS = 4
"""Two to warm up, two that are timed."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What a few steps have shown."""

    batch_size: int
    """Rows per batch that fit; a divisor of the wanted one."""
    gradient_accumulation: int
    """Batches per optimizer step: as many rows make a step as were wanted."""
    bf16: bool
    """Whether the machine has mixed precision in bfloat16."""
    step_seconds: float
    """Mean time of an optimizer step of plain tuning."""


def pace(config: RunConfig) -> Pace:
    """Take a few optimizer steps of plain tuning, which are thrown away.

    Raises:
        MachineError: not even one row fits in memory.
    """
    wanted, bf16 = config.train.batch_size, config.train.bf16 or is_torch_bf16_gpu_available()
    for size in dict.fromkeys(size for size in (wanted, wanted // 2, wanted // 4, 1) if size and wanted % size == 0):
        accumulation = config.train.gradient_accumulation * (wanted // size)
        fit = {"batch_size": size, "gradient_accumulation": accumulation, "bf16": bf16}
        try:
            seconds = _seconds(config, config.train.model_copy(update=fit))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            continue
        return Pace(batch_size=size, gradient_accumulation=accumulation, bf16=bf16, step_seconds=seconds)
    raise MachineError(
        f"Expected room for one row of {config.train.max_length} tokens beside the model {config.model.path}, found "
        "none. Lower train.max_length, use LoRA, or take a smaller model."
    )


def _seconds(config: RunConfig, train: TrainConfig) -> float:
    """Mean time of an optimizer step."""
    train = train.model_copy(update={"steps": _STEPS, "warmup_steps": 0, "report_to": ()})
    rows_a_step = train.batch_size * train.gradient_accumulation
    rows = load_source(config.task.train, seed=config.seed, shuffled=True).rows[: _STEPS * rows_a_step]
    tuning = Tuning(rows=rows, held_out=rows[:rows_a_step], seed=config.seed)
    with tempfile.TemporaryDirectory() as folder:
        model, tokenizer = load_model(config.model), load_tokenizer(config.model)
        result = fine_tune(model, tokenizer, tuning, train, output=Path(folder) / "steps")
    return result.cost["step_seconds"] or 0.0
