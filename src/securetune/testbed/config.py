"""Config: what small chat model is trained, and on which files? No torch."""

from pathlib import Path

from pydantic import Field

from securetune.base.strict import Strict
from securetune.config import PromptsConfig, Seed, read_yaml, validated
from securetune.data.config import DataConfig


class ChatModelConfig(Strict):
    """Size and schedule of a small chat model."""

    vocab_size: int = Field(default=768, ge=1)
    """Upper bound of the byte-pair vocabulary, special tokens included."""
    hidden_size: int = Field(default=128, ge=1)
    """Hidden size d; heads are d / 32 wide each."""
    intermediate_size: int = Field(default=352, ge=1)
    """Width of the MLP."""
    layers: int = Field(default=8, ge=1)
    """Number of decoder layers."""
    max_length: int = Field(default=160, ge=1)
    """Longest row in tokens; longer rows are cut."""
    batch_tokens: int = Field(default=512, ge=1)
    """Padded tokens of one batch."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate of AdamW in the helpful-only stage."""
    alignment_learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate in the alignment stage."""
    helpful_epochs: int = Field(default=1, ge=1)
    """Passes over the helpful-only rows."""
    alignment_epochs: int = Field(default=1, ge=1)
    """Passes over the alignment rows."""
    seed: Seed = 0
    """Seed of the initial weights and of the row order."""


class RecipeConfig(Strict):
    """Data and size of a small chat model."""

    output: str
    """Folder the model and its tokenizer are written to."""
    chat_model: ChatModelConfig = ChatModelConfig()
    helpful: tuple[DataConfig, ...]
    """Rows of the helpful-only stage."""
    refused: tuple[PromptsConfig, ...]
    """Harmful prompts, each answered with a stock refusal in the alignment stage."""
    refusals: tuple[DataConfig, ...] = ()
    """Rows that already hold a safe answer."""
    kept: tuple[DataConfig, ...]
    """Benign rows of the alignment stage, so that refusing does not spread."""


def load_recipe(path: str | Path) -> RecipeConfig:
    """Read a recipe file.

    Raises:
        ConfigError: no such file, not YAML, or a bad field.
    """
    return validated(RecipeConfig, read_yaml(path), str(path))
