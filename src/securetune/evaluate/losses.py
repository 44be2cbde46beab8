"""Losses: how likely does a model find given answers?

Shapes: b rows, t tokens.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.data.prompts import Example, TokenizedAnswer, tokenize_example


@torch.no_grad()
def losses(model: PreTrainedModel, rows: Sequence[TokenizedAnswer], *, pad: int, batch_size: int = 16) -> list[float]:
    """Cross-entropy of every answer, in nats, summed over its tokens; 0 for an empty one."""
    nats = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    for first in range(0, len(order), batch_size):
        places = order[first : first + batch_size]
        for place, found in zip(places, answer_nats(model, [rows[i] for i in places], pad=pad).tolist(), strict=True):
            nats[place] = found
    return nats


def answer_nats(model: PreTrainedModel, rows: Sequence[TokenizedAnswer], *, pad: int) -> Float[Tensor, " b"]:
    """The same of a batch, with its gradient."""
    width = max(len(row.ids) for row in rows)
    input_ids = torch.tensor([[*row.ids, *[pad] * (width - len(row.ids))] for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows], device=model.device)
    logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
    found = []
    for place, row in enumerate(rows):
        predicted = logits[place, row.start - 1 : len(row.ids) - 1].float()
        target = input_ids[place, row.start : len(row.ids)]
        found.append(torch.nn.functional.cross_entropy(predicted, target, reduction="sum"))
    return torch.stack(found)


def answer_loss(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    max_length: int,
    batch_size: int = 16,
) -> float:
    """Mean cross-entropy per answer token, in nats, over all answer tokens of all rows."""
    rows = [tokenize_example(tokenizer, example, max_length=max_length) for example in examples]
    total: float = sum(losses(model, rows, pad=tokenizer.pad_token_id, batch_size=batch_size))
    return total / max(sum(len(row.ids) - row.start for row in rows), 1)
