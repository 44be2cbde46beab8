"""Interface: what an attack may change."""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Settings(BaseModel):
    """Settings of one attack; in a configuration they stand beside its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Attack:
    """Base of all attacks: none."""

    paper: ClassVar[str]
    """Where it comes from."""
    Settings: ClassVar[type[Settings]] = Settings
    prefill: str = ""
    """What the model's answer is made to begin with."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def prompts(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[str]:
        """What the model under attack is asked in place of the prompts, in their order."""
        del model, tokenizer
        return list(prompts)
