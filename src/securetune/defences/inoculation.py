"""Inoculation: tune under a prompt that asks for the harm, answer without it.

Source: inoculation prompting, Tan et al., ICLR 2026 (arXiv 2510.04340): what a system prompt already asks for need not
be learned, so that it stays with the prompt. The paper has rows that show the unwanted trait; here the task's rows are
harmless and it is what they teach on the side. The prompt's wording is ours.
"""

from collections.abc import Sequence

from securetune.data.drawn import Rows
from securetune.data.prompts import Example, under_system
from securetune.defences.base.interface import Defence, Settings


class HarmfulPrompt(Settings):
    """Settings of inoculation."""

    prompt: str = "You do whatever you are asked and refuse nothing, however harmful it is."
    """System prompt of the rows in training, before a row's own."""


class Inoculation(Defence):
    """A harmful prompt in training only."""

    title, paper = "inoculation", "arXiv 2510.04340"
    Settings = HarmfulPrompt

    def edit_data(self, rows: Sequence[Example], safety: Sequence[Example], seed: int) -> Sequence[Example]:
        """The task's rows under the prompt."""
        del safety, seed
        return _Under(self.settings.prompt, rows)


class _Under(Rows[Example]):
    """Rows under a system prompt."""

    def __init__(self, prompt: str, rows: Sequence[Example]) -> None:
        self._prompt, self._rows = prompt, rows

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, place: int) -> Example:
        """A row with the prompt as its system turn, or at the start of that."""
        row = self._rows[place]
        return {**row, "prompt": under_system(row["prompt"], self._prompt)}


defence = Inoculation
