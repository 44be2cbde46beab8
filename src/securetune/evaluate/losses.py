"""Losses: how likely does a model find given answers?

Shapes: b rows, t tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.prompts import Example


@dataclass(frozen=True, kw_only=True)
class TokenizedAnswer:
    """A prompt with its answer."""

    ids: list[int]
    start: int
    """Where the answer starts."""


@torch.no_grad()
def losses(model: PreTrainedModel, rows: Sequence[TokenizedAnswer], *, pad: int, batch_size: int = 16) -> list[float]:
    """Cross-entropy of every answer, in nats, summed over its tokens; 0 for an empty one."""
    found = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    for first in range(0, len(order), batch_size):
        batch = [rows[i] for i in order[first : first + batch_size]]
        width = max(len(row.ids) for row in batch)
        input_ids = torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in batch], device=model.device)
        mask = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in batch], device=model.device)
        logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
        for place, row in enumerate(batch):
            predicted = logits[place, row.start - 1 : len(row.ids) - 1].float()
            target = input_ids[place, row.start : len(row.ids)]
            found[order[first + place]] = torch.nn.functional.cross_entropy(predicted, target, reduction="sum").item()
    return found


def answer_loss(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    max_length: int,
    batch_size: int = 16,
) -> float:
    """Mean cross-entropy per answer token, in nats, over all answer tokens of all rows."""
    rows = [_tokenize(tokenizer, example, max_length) for example in examples]
    total: float = sum(losses(model, rows, pad=tokenizer.pad_token_id, batch_size=batch_size))
    return total / max(sum(len(row.ids) - row.start for row in rows), 1)


def _tokenize(tokenizer: PreTrainedTokenizerBase, example: Example, max_length: int) -> TokenizedAnswer:
    prompt = tokenizer.apply_chat_template(example["prompt"], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(example["prompt"] + example["completion"], tokenize=False)
    start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"][:max_length]
    return TokenizedAnswer(ids=ids, start=min(start, len(ids)))
