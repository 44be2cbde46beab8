"""Config: how the model is tuned."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from securetune.base.strict import Strict

UNCOUNTED = ("report_to",)
"""Fields that change no result, and so no fingerprint."""
OTHER_NAMES = {
    "max_steps": "steps",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "max_seq_length": "max_length",
    "save_steps": "save_every",
    "r": "lora_rank",
    "lora_r": "lora_rank",
}
"""What TRL and PEFT call a field -> its name here."""
_EPOCHS = "num_train_epochs"


def our_names(section: Any) -> Any:
    """The section `train` of a configuration with its fields under our names; what is no section stays.

    Raises:
        ValueError: one field under two names, or passes over the rows in place of steps.
    """
    if not isinstance(section, Mapping):
        return section
    if _EPOCHS in section:
        raise ValueError(
            f"write `steps` in place of `{_EPOCHS}`: arms are compared at equal steps of plain tuning. `securetune "
            "tune MODEL ROWS --epochs N` and `securetune init` count them for you"
        )
    named: dict[str, Any] = {}
    places: dict[str, str] = {}
    for name, value in section.items():
        ours = OTHER_NAMES.get(name) or name
        if ours in places:
            raise ValueError(f"`{places[ours]}` and `{name}` name the same field: leave one of them out")
        places[ours], named[ours] = name, value
    return named


class TrainConfig(Strict):
    """How the model is tuned. The names of `OTHER_NAMES` are taken as well."""

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
    match_max_factor: float = Field(default=4.0, ge=1, le=1000)
    """An arm that has not reached the target after this many times `steps` stops and is reported as unmatched."""
    eval_every: int = Field(default=10, ge=1)
    """Steps between measurements of the held-out loss while matching (a fifth of it close to the target)."""
    save_every: int = Field(default=100, ge=1)
    """Steps between checkpoints, from which a killed run resumes."""
    report_to: tuple[str, ...] = ()
    """Trackers that are shown the losses as well, such as ``[tensorboard, wandb]``; they change no result.

    TensorBoard's curves lie in the run folder under ``trackers``."""

    @model_validator(mode="before")
    @classmethod
    def _has_our_names(cls, raw: Any) -> Any:
        return our_names(raw)

    @field_validator("report_to", mode="before")
    @classmethod
    def _is_list(cls, names: Any) -> Any:
        """As transformers takes it: one name, or ``none``."""
        return names if not isinstance(names, str) else () if names == "none" else (names,)
