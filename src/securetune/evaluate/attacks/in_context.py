"""In-context: the conversation begins with requests that were answered.

Source: Wei et al. 2023 (arXiv 2310.06387), in-context attack. The user gives the examples: the package ships no harmful
answers.
"""

from typing import Any

from pydantic import Field

from securetune.base.fingerprint import FilePath
from securetune.data.config import DataConfig
from securetune.data.examples import load_examples
from securetune.errors import DataError
from securetune.evaluate.attacks.base.interface import Attack, Settings


class Examples(Settings):
    """Settings of the in-context attack."""

    path: FilePath
    """File of prompts with willing answers, in any of the formats of tuning rows."""
    count: int = Field(default=3, ge=1)
    """How many of them are shown."""


class InContext(Attack):
    """Answered requests as turns before the one that matters."""

    paper = "Wei et al. 2023 (arXiv 2310.06387)"
    Settings = Examples

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        rows = load_examples(DataConfig(path=settings.path, trained_turns="last"), seed=0)[: settings.count]
        self.turns = [message for row in rows for message in (*row["prompt"], *row["completion"])]
        if any(message["role"] == "system" for message in self.turns):
            raise DataError(
                f"Expected answered requests without a system prompt in {settings.path}, found one with it: it would "
                "stand in the middle of a conversation. Take it out; `evaluate.system` is one for all."
            )


attack = InContext
