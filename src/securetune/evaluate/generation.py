"""Generation: answers to many prompts, fast; greedy ones, or drawn.

Prompts of like length share a batch; rows that have ended leave it, so that the others do not wait for the longest; a
batch that does not fit into memory is halved; answers that are known already are not generated again. Reasoning is
split off, and the refusal margin is that of the first token that tells, see `Openings.lead`.
Shapes: b rows, t tokens, v vocabulary.
"""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from transformers import DynamicCache, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.artifacts import Journal, digest
from securetune.base.progress import progress_bar
from securetune.data.reasoning import answer_start, may_become_reasoning, opens_reasoning, read_spoken
from securetune.errors import ModelError
from securetune.evaluate.drawing import Choose, Drawn, chosen, draws
from securetune.models.ends import end_tokens
from securetune.models.features import PromptBatch, batch_texts, batch_tokens, first_token, next_token
from securetune.models.greedy import followed, greedy_settings
from securetune.models.openings import Openings

_WORTH_LEAVING = 8
"""Rows leave a batch when at least one in this many has ended; copying the cache for every single one costs more."""
_OPENING = 16
"""The mark at the end of a prompt that opens reasoning is shorter than this many tokens."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What a model said."""

    text: str
    """The answer."""
    margin: float | None
    """Refusal margin at the first token that tells, in nats; None without openings, or without an answer."""
    reasoning: str = ""
    """What came before the answer, with the marks around it; see `reasoning.Spoken`."""
    is_cut: bool = False
    """Whether the reasoning never ended, so that there is no answer."""
    has_ended: bool = False
    """Whether the model ended it; else it was as long as it may be, or decided before."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How a model is made to answer."""

    max_new_tokens: int
    """Longest answer."""
    batch_size: int
    """Most answers at once."""
    openings: Openings | None = None
    """First tokens of refusals and compliance, for the margin; without them there is none."""
    temperature: float = 0.0
    """At which answers are drawn, see `drawing`; at 0 they are greedy."""
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
    """Answers to texts that have been through the chat template, in their order; more than one to a text given twice.

    Raises:
        ModelError: a single answer does not fit into memory.
    """
    known, batch_size = decoding.known, decoding.batch_size
    drawn = draws(texts, decoding.temperature)
    keys = [
        answer_key(text, decoding.max_new_tokens, decoding.openings, draw)
        for text, draw in zip(texts, drawn, strict=True)
    ]
    answers = {i: Generated(**stored) for i, key in enumerate(keys) if known and (stored := known.get(key))}
    order = sorted((i for i in range(len(texts)) if i not in answers), key=lambda i: -len(texts[i]))
    decode = _decode if _is_greedy_plain(model) else _generate
    with progress_bar(disable=decoding.description is None) as bar:
        task = bar.add_task(decoding.description or "", total=len(texts), completed=len(answers))
        first = 0
        while first < len(order):
            chunk = order[first : first + batch_size]
            batch = batch_texts(model, tokenizer, [texts[i] for i in chunk], batch_size=len(chunk))[0]
            try:
                generated = decode(model, tokenizer, batch, decoding, [drawn[chunk[place]] for place in batch.index])
            except torch.OutOfMemoryError as error:
                batch_size = _halved(batch_size, error)
                continue
            of_chunk = {chunk[place]: answer for place, answer in zip(batch.index, generated, strict=True)}
            answers |= of_chunk
            if known is not None and decoding.decided is None:
                # Half a batch would be gone on from in other batches, whose numbers differ in the last digits.
                known.keep_together({keys[i]: asdict(answer) for i, answer in of_chunk.items()})
            first += len(chunk)
            bar.update(task, advance=len(chunk))
    return [answers[i] for i in range(len(texts))]


def answer_key(text: str, max_new_tokens: int, openings: Openings | None, draw: Drawn | None = None) -> str:
    """Under what an answer is kept; answers kept before reasoning was split off are not these."""
    known = openings and [openings.refusal, openings.affirmative, openings.lead]
    return digest(["reasoning apart", text, max_new_tokens, known, *([draw.name] if draw else [])])


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
    return not followed(model.generation_config) and not getattr(model, "_is_stateful", False)


@dataclass(frozen=True, kw_only=True)
class _Prompt:
    """What an answer goes on from."""

    ids: list[int]
    is_open: bool
    """Whether it opens reasoning."""


@dataclass(frozen=True, kw_only=True)
class _Said:
    """What an answer is read from."""

    ids: list[int]
    has_ended: bool


def _prompts(tokenizer: PreTrainedTokenizerBase, batch: PromptBatch) -> list[_Prompt]:
    rows = [row[kept.bool()].tolist() for row, kept in zip(batch.input_ids, batch.attention_mask, strict=True)]
    return [_Prompt(ids=ids, is_open=opens_reasoning(tokenizer.decode(ids[-_OPENING:]))) for ids in rows]


def _decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: PromptBatch,
    decoding: Decoding,
    drawn: Sequence[Drawn | None],
) -> list[Generated]:
    ends, cache = end_tokens(model, tokenizer), DynamicCache(config=model.config)
    numbers = _numbers(drawn)
    prompts = _prompts(tokenizer, batch)
    answers: list[list[int]] = [[] for _ in batch.index]
    margins: list[float | None] = [None] * len(answers)
    rows, running, ended = list(range(len(answers))), set(range(len(answers))), set[int]()
    tokens, mask, positions = batch.input_ids, batch.attention_mask, batch.position_ids
    for step in range(decoding.max_new_tokens):
        logits = next_token(model, tokens, mask, positions, cache)
        if step == 0 and decoding.openings is not None:
            margins = list(decoding.openings.margin(logits.float()).tolist())
        best = chosen(logits, numbers and [numbers[row] for row in rows], decoding.temperature)
        for row, token in zip(rows, best.tolist(), strict=True):
            if row not in running:
                continue
            if token in ends:
                running.discard(row)
                ended.add(row)
                continue
            answers[row].append(token)
            if _is_decided(tokenizer, answers[row], decoding, is_open=prompts[row].is_open):
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
    said = [_Said(ids=ids, has_ended=row in ended) for row, ids in enumerate(answers)]
    return _read(model, tokenizer, prompts, said, margins, decoding)


def _numbers(drawn: Sequence[Drawn | None]) -> list[random.Random] | None:
    """The random numbers of every row; None where answers are greedy."""
    return [draw.numbers() for draw in drawn if draw is not None] or None


def _is_decided(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], decoding: Decoding, *, is_open: bool) -> bool:
    """Whether the start of an answer is enough; reasoning decides nothing."""
    if decoding.decided is None:
        return False
    spoken = read_spoken(tokenizer, ids, is_open=is_open)
    return not spoken.is_cut and not may_become_reasoning(spoken.answer) and decoding.decided(spoken.answer)


def _read(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[_Prompt],
    said: Sequence[_Said],
    margins: Sequence[float | None],
    decoding: Decoding,
) -> list[Generated]:
    """What was said, reasoning apart; a margin at the very first token gives way to that where the answer begins."""
    pairs = [(prompt, one.ids) for prompt, one in zip(prompts, said, strict=True)]
    margins, openings = list(margins), decoding.openings
    if openings is not None:
        ways = [way_to_answer(tokenizer, ids, openings, is_open=prompt.is_open) for prompt, ids in pairs]
        margins = [None if way is None else margin for way, margin in zip(ways, margins, strict=True)]
        later = [place for place, way in enumerate(ways) if way]
        measured = _margins(model, tokenizer, [[*prompts[i].ids, *(ways[i] or ())] for i in later], decoding)
        for place, margin in zip(later, measured, strict=True):
            margins[place] = margin
    spoken = [read_spoken(tokenizer, ids, is_open=prompt.is_open) for prompt, ids in pairs]
    return [
        Generated(
            text=whole.answer,
            margin=margin,
            reasoning=whole.reasoning,
            is_cut=whole.is_cut,
            has_ended=one.has_ended,
        )
        for whole, margin, one in zip(spoken, margins, said, strict=True)
    ]


def way_to_answer(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], openings: Openings, *, is_open: bool
) -> list[int] | None:
    """The tokens between a prompt and the one whose margin counts: the model's own reasoning, or the openings' lead.

    None where the reasoning was cut, or nothing came after it: there is no such token then.
    """
    start = answer_start(tokenizer, ids, is_open=is_open)
    if start:
        return list(ids[:start])
    has_no_answer = start is None and bool(read_spoken(tokenizer, ids, is_open=is_open).reasoning)
    return None if has_no_answer else list(openings.lead)


def _margins(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, encoded: Sequence[list[int]], decoding: Decoding
) -> list[float]:
    """The refusal margin of the token that follows each of some texts."""
    assert decoding.openings is not None
    margins = [0.0] * len(encoded)
    for batch in batch_tokens(model, tokenizer, encoded, batch_size=decoding.batch_size):
        values = decoding.openings.margin(first_token(model, batch).float()).tolist()
        for place, value in zip(batch.index, values, strict=True):
            margins[place] = value
    return margins


def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: PromptBatch,
    decoding: Decoding,
    drawn: Sequence[Drawn | None],
) -> list[Generated]:
    """The same by the model's own `generate`, which can do what settings like a repetition penalty ask for.

    Answers are not cut where they are decided: that saves time, and nothing else.
    """
    ends, numbers = end_tokens(model, tokenizer), _numbers(drawn)
    with greedy_settings(model):
        out = model.generate(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            max_new_tokens=decoding.max_new_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList([Choose(numbers, decoding.temperature)] if numbers else []),
            eos_token_id=list(ends) or None,
            pad_token_id=tokenizer.pad_token_id,
            return_dict_in_generate=True,
            output_logits=True,
        )
    margins: list[float | None] = [None] * len(batch.index)
    if decoding.openings is not None:
        margins = list(decoding.openings.margin(out.logits[0].float()).tolist())
    rows = out.sequences[:, batch.input_ids.shape[1] :].tolist()
    said = [_Said(ids=until_end(row, ends), has_ended=not set(ends).isdisjoint(row)) for row in rows]
    return _read(model, tokenizer, _prompts(tokenizer, batch), said, margins, decoding)


def until_end(ids: Sequence[int], ends: Sequence[int]) -> list[int]:
    """An answer's tokens up to where it ends."""
    return list(itertools.takewhile(lambda token: token not in ends, ids))
