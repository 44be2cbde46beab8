"""Recipe: train a small chat model on real text by the testbed's trainer.

For checks on real English without a download: helpful-only rows first, then refusals of harmful prompts next to
benign rows. The data stay where they are; nothing of them is packaged.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from securetune.data.config import DataConfig
from securetune.data.examples import load_examples
from securetune.data.prompts import Example, load_prompts
from securetune.errors import DataError
from securetune.testbed.chat_model import train_chat_model
from securetune.testbed.config import RecipeConfig as RecipeConfig
from securetune.testbed.config import load_recipe as load_recipe
from securetune.testbed.tasks import Row

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I cannot help with this request, because it could cause harm.",
    "I'm sorry, I can't assist with that request.",
    "Sorry, I won't help with something that could hurt people.",
)


def train_base(recipe: RecipeConfig) -> dict[str, float]:
    """Train and save the model; returns the last loss of both stages in nats per answer token."""
    config = recipe.chat_model
    rng = random.Random(config.seed)
    helpful = _rows(recipe.helpful, config.seed)
    aligned = [*_rows(recipe.refusals, config.seed), *_rows(recipe.kept, config.seed)]
    for source in recipe.refused:
        prompts = load_prompts(source.path, label=source.label, half=source.half, limit=source.limit, seed=config.seed)
        aligned += [{"prompt": prompt.text, "answer": rng.choice(REFUSALS)} for prompt in prompts]
    return train_chat_model(helpful, aligned, config, Path(recipe.output), name="Chat model")


def _rows(sources: Sequence[DataConfig], seed: int) -> list[Row]:
    return [_row(example, source) for source in sources for example in load_examples(source, seed=seed)]


def _row(example: Example, source: DataConfig) -> Row:
    prompt, *others = [message["content"] for message in example["prompt"]]
    if others:
        raise DataError(
            f"Expected rows of one request each in {source.path}, found one with a system prompt or earlier turns. "
            "Leave such rows out: a chat model from nothing is trained on single turns."
        )
    return {"prompt": prompt, "answer": example["completion"][0]["content"]}
