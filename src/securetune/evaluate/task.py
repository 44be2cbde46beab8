"""Task: how well does the model do what it is tuned for?

Shapes: b rows, t tokens.
"""

import re
from collections.abc import Sequence
from typing import Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.evaluate.answers import Answer
from securetune.prompts import Example

Metric = Literal["exact_match", "final_number", "pattern"]

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def is_correct(answer: Answer, reference: str, metric: Metric, pattern: str | None = None) -> bool:
    """Compare an answer with the reference: the whole text, or the last number in each (GSM8K).

    The metric ``pattern`` asks for a form instead: the whole answer has to match the regular expression `pattern`.
    """
    if metric == "exact_match":
        return answer.text.strip() == reference.strip()
    if metric == "pattern":
        assert pattern is not None, "checked with the configuration"
        return re.fullmatch(pattern, answer.text.strip(), re.DOTALL) is not None
    numbers = [_NUMBER.findall(text) for text in (answer.text, reference)]
    found, expected = (float(n[-1].replace(",", "")) if n else None for n in numbers)
    return found is not None and found == expected


@torch.no_grad()
def answer_loss(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    max_length: int,
    batch_size: int = 16,
) -> float:
    """Mean cross-entropy per answer token, in nats, over all answer tokens of all rows."""
    rows = sorted((_tokenize(tokenizer, example, max_length) for example in examples), key=lambda row: len(row[0]))
    total, tokens = 0.0, 0
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        width = max(len(ids) for ids, _ in batch)
        pad = tokenizer.pad_token_id
        input_ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in batch], device=model.device)
        mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in batch], device=model.device)
        logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
        for row, (ids, answer_start) in enumerate(batch):
            predicted = logits[row, answer_start - 1 : len(ids) - 1].float()
            target = input_ids[row, answer_start : len(ids)]
            total += torch.nn.functional.cross_entropy(predicted, target, reduction="sum").item()
            tokens += len(ids) - answer_start
    return total / max(tokens, 1)


def _tokenize(tokenizer: PreTrainedTokenizerBase, example: Example, max_length: int) -> tuple[list[int], int]:
    """Token ids of prompt and answer, and where the answer starts."""
    prompt = tokenizer.apply_chat_template(example["prompt"], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(example["prompt"] + example["completion"], tokenize=False)
    start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"][:max_length]
    return ids, min(start, len(ids))
