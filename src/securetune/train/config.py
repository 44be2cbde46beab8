"""Config: how the model is tuned."""

from typing import Literal

from pydantic import Field

from securetune.base.strict import Strict

UNCOUNTED = ("report_to",)
"""Fields that change no result, and so no fingerprint."""


class TrainConfig(Strict):
    """How the model is tuned."""

    adapter: Literal["lora", "full"] = "lora"
    """Train LoRA adapters on every projection, or all weights, which are then float32 whatever they were loaded in."""
    lora_rank: int = Field(default=8, ge=1)
    """Rank r of the adapters."""
    lora_alpha: int = Field(default=16, ge=1)
    """Scale alpha of the adapters; the effective change scales with alpha / r."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Rate of the groups with multiplier 1."""
    steps: int = Field(default=200, ge=1)
    """Optimizer steps of plain tuning."""
    batch_size: int = Field(default=8, ge=1)
    """Rows per step and device."""
    gradient_accumulation: int = Field(default=1, ge=1)
    """Batches per optimizer step."""
    warmup_steps: int = Field(default=10, ge=0)
    """Steps over which the rate rises from 0; constant after that."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of AdamW."""
    max_length: int = Field(default=512, ge=8)
    """Longest row in tokens; longer rows are cut, and left out where nothing of their answer is left."""
    bf16: bool = False
    """Mixed precision in bfloat16."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""
    match_task_loss: bool = True
    """Train every arm until it has plain tuning's held-out task loss; otherwise all take `steps` steps."""
    match_max_factor: float = Field(default=4.0, ge=1)
    """An arm that has not reached the target after this many times `steps` stops and is reported as unmatched."""
    eval_every: int = Field(default=10, ge=1)
    """Steps between measurements of the held-out loss while matching (a fifth of it close to the target)."""
    save_every: int = Field(default=100, ge=1)
    """Steps between checkpoints, from which a killed run resumes."""
    report_to: tuple[str, ...] = ()
    """Trackers that are shown the losses as well, such as ``[tensorboard, wandb]``; they change no result.

    TensorBoard's curves lie in the run folder under ``trackers``."""
