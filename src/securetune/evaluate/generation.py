"""Generation: greedy answers to many prompts, fast.

Prompts of like length share a batch; rows that have ended leave it, so that the others do not wait for the longest; a
batch that does not fit into memory is halved; answers that are known already are not generated again.
Shapes: b rows, t tokens, v vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.artifacts import Journal, digest
from securetune.base.progress import progress_bar
from securetune.errors import ModelError
from securetune.models.features import PromptBatch, batch_texts
from securetune.models.openings import Openings

_WORTH_LEAVING = 8
"""Rows leave a batch when at least one in this many has ended; copying the cache for every single one costs more."""
_PROCESSORS = (
    "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "min_length", "min_new_tokens", "suppress_tokens",
    "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id", "encoder_repetition_penalty",
    "sequence_bias", "exponential_decay_length_penalty", "guidance_scale",
)  # fmt: skip
"""Settings of a model that change which token is the greedy one; such a model generates by its own `generate`."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What a model said."""

    text: str
    margin: float | None
    """Refusal margin at the first token, in nats; None without openings."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How a model is made to answer."""

    max_new_tokens: int
    """Longest answer."""
    batch_size: int
    """Most answers at once."""
    openings: Openings | None = None
    """First tokens of refusals and compliance, for the margin; without them there is none."""
    decided: Callable[[str], bool] | None = None
    """Whether the start of an answer is enough; the answer ends there."""
    known: Journal | None = None
    """Answers of this very model that are there already; new ones are added."""
    description: str | None = None
    """Text of the progress bar; without one there is none."""


@torch.no_grad()
def generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], decoding: Decoding
) -> list[Generated]:
    """Greedy answers to texts that have been through the chat template, in their order.

    Raises:
        ModelError: a single answer does not fit into memory.
    """
    known, batch_size = decoding.known, decoding.batch_size
    keys = [answer_key(text, decoding.max_new_tokens, decoding.openings) for text in texts]
    answers = {i: Generated(**stored) for i, key in enumerate(keys) if known and (stored := known.get(key))}
    order = sorted((i for i in range(len(texts)) if i not in answers), key=lambda i: -len(texts[i]))
    decode = _decode if _is_greedy_plain(model) else _generate
    with progress_bar(disable=decoding.description is None) as bar:
        task = bar.add_task(decoding.description or "", total=len(texts), completed=len(answers))
        while order:
            chunk = order[:batch_size]
            batch = batch_texts(model, tokenizer, [texts[i] for i in chunk], batch_size=len(chunk))[0]
            try:
                generated = decode(model, tokenizer, batch, decoding)
            except torch.OutOfMemoryError as error:
                batch_size = _halved(batch_size, error)
                continue
            for place, answer in zip(batch.index, generated, strict=True):
                answers[chunk[place]] = answer
                if known is not None and decoding.decided is None:
                    known.keep(keys[chunk[place]], {"text": answer.text, "margin": answer.margin})
            order = order[len(chunk) :]
            bar.update(task, advance=len(chunk))
    return [answers[i] for i in range(len(texts))]


def answer_key(text: str, max_new_tokens: int, openings: Openings | None) -> str:
    """Under what an answer is kept."""
    return digest([text, max_new_tokens, openings and [openings.refusal, openings.affirmative]])


def _halved(batch_size: int, error: Exception) -> int:
    """Half of a batch that did not fit into memory."""
    if batch_size == 1:
        raise ModelError(
            f"Expected room for one answer, found none ({str(error).splitlines()[0]}). Lower evaluate.max_new_tokens, "
            "load the model in 4 bits, or use a larger GPU."
        ) from error
    torch.cuda.empty_cache()
    return batch_size // 2


def _is_greedy_plain(model: PreTrainedModel) -> bool:
    """Whether the greedy token is simply the most likely one, and the cache one whose rows can leave."""
    settings = model.generation_config
    is_set = (getattr(settings, name, None) not in (None, 0, 1, 1.0, [], {}) for name in _PROCESSORS)
    return not any(is_set) and not getattr(model, "_is_stateful", False)


def _ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id
    return set(ends if isinstance(ends, list) else [ends])


def _decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: PromptBatch,
    decoding: Decoding,
) -> list[Generated]:
    decided, openings = decoding.decided, decoding.openings
    ends, cache = _ends(model, tokenizer), DynamicCache(config=model.config)
    answers: list[list[int]] = [[] for _ in batch.index]
    margins: list[float | None] = [None] * len(answers)
    rows, running = list(range(len(answers))), set(range(len(answers)))
    tokens, mask, positions = batch.input_ids, batch.attention_mask, batch.position_ids
    for step in range(decoding.max_new_tokens):
        logits = _next(model, tokens, mask, positions, cache)
        if step == 0 and openings is not None:
            margins = list(openings.margin(logits.float()).tolist())
        best = logits.argmax(-1)
        for row, token in zip(rows, best.tolist(), strict=True):
            if row not in running:
                continue
            if token in ends:
                running.discard(row)
                continue
            answers[row].append(token)
            if decided is not None and decided(_text(tokenizer, answers[row])):
                running.discard(row)
        if not running:
            break
        if (len(rows) - len(running)) * _WORTH_LEAVING >= len(rows):
            stay = torch.tensor([place for place, row in enumerate(rows) if row in running], device=mask.device)
            cache.batch_select_indices(stay)
            best, mask, positions = best[stay], mask[stay], positions[stay]
            rows = [row for row in rows if row in running]
        tokens, positions = best[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
    return [Generated(text=_text(tokenizer, ids), margin=m) for ids, m in zip(answers, margins, strict=True)]


def _next(model: PreTrainedModel, tokens: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
    """Logits [b, v] of the token that follows."""
    out = model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: Tensor = out.logits[:, -1]
    return logits


def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: PromptBatch,
    decoding: Decoding,
) -> list[Generated]:
    """The same by the model's own `generate`, which knows of settings that we do not.

    Answers are not cut where they are decided: that saves time, and nothing else.
    """
    out = model.generate(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        max_new_tokens=decoding.max_new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        return_dict_in_generate=True,
        output_logits=True,
    )
    margins: list[float | None] = [None] * len(batch.index)
    if decoding.openings is not None:
        margins = list(decoding.openings.margin(out.logits[0].float()).tolist())
    texts = (_text(tokenizer, ids) for ids in out.sequences[:, batch.input_ids.shape[1] :])
    return [Generated(text=text, margin=margin) for text, margin in zip(texts, margins, strict=True)]


def _text(tokenizer: PreTrainedTokenizerBase, ids: object) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True)
    return text.strip()
