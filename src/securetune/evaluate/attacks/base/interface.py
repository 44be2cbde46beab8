"""Interface: what an attack may change."""

from collections.abc import Sequence
from typing import Any, ClassVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.fingerprint import plugin_fingerprint
from securetune.base.strict import Strict
from securetune.data.prompts import Message


class Settings(Strict):
    """Settings of one attack; in a configuration they stand beside its name."""


class Attack:
    """Base of all attacks: none."""

    paper: ClassVar[str]
    """Where it comes from."""
    Settings: ClassVar[type[Settings]] = Settings
    prefill: str = ""
    """What the model's answer is made to begin with."""
    turns: Sequence[Message] = ()
    """Turns of the conversation before the prompt."""
    searches: ClassVar[bool] = False
    """Whether it needs the model under attack."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def prompts(self, prompts: Sequence[str]) -> list[str]:
        """What the model is asked in place of the prompts, in their order; one of several answers comes as often."""
        return list(prompts)

    def search(
        self, model: PreTrainedModel | None, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]
    ) -> list[str]:
        """The same, of an attack that searches with the model's help."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Hash of all that can change what the model is asked, files by their content."""
        return plugin_fingerprint(self)
