"""Answers: what the model said to each prompt, and how likely it was to refuse."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.features import batch_prompts, extract_features
from securetune.progress import progress_bar
from securetune.prompts import Example
from securetune.scan.openings import Openings


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One prompt with the model's greedy answer."""

    prompt: str
    text: str
    margin: float | None = None
    """Refusal margin at the first answer token, in nats; positive leans to refusing."""


def reference(example: Example) -> Answer:
    """The right answer to a row of the task."""
    return Answer(prompt=example["prompt"][-1]["content"], text=example["completion"][0]["content"])


@torch.no_grad()
def generate_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    openings: Openings | None = None,
    system: str | None = None,
    description: str | None = "Answers",
) -> list[Answer]:
    """Greedy answers in the order of `prompts`; the margin needs `openings`, a progress bar a `description`."""
    batches = batch_prompts(model, tokenizer, prompts, batch_size=batch_size, system=system)
    texts = [""] * len(prompts)
    with progress_bar(disable=description is None) as bar:
        for batch in bar.track(batches, description=description or ""):
            out = model.generate(
                input_ids=batch.input_ids,
                attention_mask=batch.attention_mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
            new = out[:, batch.input_ids.shape[1] :]
            for i, text in zip(batch.index, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
                texts[i] = text.strip()
    margins: list[float | None] = [None] * len(prompts)
    if openings is not None:
        margins = openings.margin(extract_features(model, batches).logits).tolist()
    return [Answer(prompt=p, text=t, margin=m) for p, t, m in zip(prompts, texts, margins, strict=True)]
