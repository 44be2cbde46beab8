"""In-context: the prompt comes after examples of requests that were answered.

Source: Wei et al. 2023 (arXiv 2310.06387), in-context attack. There the examples are turns of the conversation and
harmful; here they are in the prompt's text, and the user gives them: the package ships no harmful answers.
"""

from collections.abc import Sequence

from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.evaluate.attacks.interface import Attack, Settings
from securetune.examples import DataConfig, load_examples


class Examples(Settings):
    """Settings of the in-context attack."""

    path: str
    """JSONL file of prompts with willing answers, in any of the formats of tuning rows."""
    count: int = Field(default=3, ge=1)
    """How many of them are shown."""


class InContext(Attack):
    """A few answered requests before the one that matters."""

    paper = "Wei et al. 2023 (arXiv 2310.06387)"
    Settings = Examples

    def prompts(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[str]:
        """The examples, then the prompt."""
        del model, tokenizer
        rows = load_examples(DataConfig(path=self.settings.path), seed=0)[: self.settings.count]
        shown = "".join(
            f"Question: {row['prompt'][-1]['content']}\nAnswer: {row['completion'][0]['content']}\n\n" for row in rows
        )
        return [f"{shown}Question: {prompt}\nAnswer:" for prompt in prompts]


attack = InContext
