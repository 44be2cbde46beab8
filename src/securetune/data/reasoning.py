"""Reasoning: where does what a model thinks to itself end, and its answer begin?

Models that think first say so by marks around it. Judges and task scores are about the answer alone: a refusal that was
only weighed is none, and reasoning that was cut short has led to no answer at all.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("◁think▷", "◁/think▷"),
    ("<unused94>", "<unused95>"),
    ("<|channel>thought", "<channel|>"),
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
    ("<|channel|>commentary", "<|channel|>final<|message|>"),
)
"""What opens and what closes reasoning: of Qwen3, DeepSeek-R1 and many others, and of families with marks of their own.

The channels are those of gpt-oss, where the answer is a message of its own."""
_CHANNEL, _FINAL = "<|channel|>", "<|channel|>final<|message|>"
_BARE, _BARE_FINAL = "analysis", "assistantfinal"
"""The same channels, decoded without their special tokens."""
_OPENING, _CLOSING = (re.compile("|".join(re.escape(pair[side]) for pair in MARKS), re.IGNORECASE) for side in (0, 1))


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """What a model said, in two parts; one after the other they are the whole."""

    reasoning: str
    """All before the answer, marks and space included; empty where the model does not think first."""
    answer: str
    """The answer, without space around it."""
    is_cut: bool
    """Whether the reasoning never ended: there is no answer then."""


def split_reasoning(text: str, *, is_open: bool = False) -> Spoken:
    """Split what a model said where its reasoning ends.

    Args:
        text: what it said, with special tokens: some families' marks are such.
        is_open: whether the prompt has opened the reasoning already, see `opens_reasoning`.
    """
    rest = text
    while True:
        start = rest.lstrip()
        closing = _closing(start, is_open=is_open)
        if closing is None:
            break
        _, mark, after = start.partition(closing) if closing else _first(start, [end for _, end in MARKS])
        if not mark:
            return Spoken(reasoning=text, answer="", is_cut=True)
        rest, is_open = after, False
    answer = rest.strip()
    return Spoken(reasoning=text[: len(text) - len(rest.lstrip())] if rest != text else "", answer=answer, is_cut=False)


def without_reasoning(text: str) -> str | None:
    """What follows the last reasoning in a text that lost its tokens; None where the reasoning never ended.

    The closing mark is enough: many templates open the reasoning themselves. A text without marks comes back as it is.
    """
    if _CHANNEL in text:
        return _after(text, _FINAL)
    if text.startswith(_BARE) and text[len(_BARE) : len(_BARE) + 1].isupper():
        return _after(text, _BARE_FINAL)
    rest = text[max((mark.end() for mark in _CLOSING.finditer(text)), default=0) :]
    return None if _OPENING.match(rest.lstrip()) else rest


def opens_reasoning(prompt: str) -> bool:
    """Whether a rendered prompt ends with a mark that opens reasoning."""
    return opening_mark(prompt) is not None


def opening_mark(prompt: str) -> str | None:
    """The mark that opens reasoning at the end of a rendered prompt."""
    return next((start for start, _ in MARKS if prompt.rstrip().endswith(start)), None)


def skip_reasoning(prompt: str) -> str:
    """A rendered prompt up to where the answer itself begins: reasoning that it opens is closed, empty."""
    opening = opening_mark(prompt)
    if opening is None:
        return prompt
    closing = dict(MARKS)[opening]
    breaks = "\n" * max(0, 2 - prompt[len(prompt.rstrip()) :].count("\n"))
    return f"{prompt}{breaks}{closing}\n\n"


def empty_reasoning(said: str) -> str:
    """Reasoning without content in the marks that an answer begins with; empty where it begins with none."""
    start = said.lstrip()
    pair = next((pair for pair in MARKS if start.startswith(pair[0])), None)
    return "" if pair is None else f"{pair[0]}\n\n{pair[1]}\n\n"


def has_marks(text: str) -> bool:
    """Whether there is any mark of reasoning in a text."""
    return any(mark in text for pair in MARKS for mark in pair)


def without_marks(text: str) -> str:
    """A text without the marks of reasoning."""
    return _CLOSING.sub("", _OPENING.sub("", text)).strip()


def may_become_reasoning(text: str) -> bool:
    """Whether the start of what a model says may still turn out to be a mark that opens reasoning."""
    return any(opening.startswith(text.strip()) for opening, _ in MARKS)


def read_spoken(tokenizer: Any, ids: Sequence[int], *, is_open: bool = False) -> Spoken:
    """What a model said, from its tokens; the answer is without special tokens."""
    spoken = split_reasoning(tokenizer.decode(ids, skip_special_tokens=False), is_open=is_open)
    if spoken.is_cut:
        return spoken
    if not spoken.reasoning.strip():
        text: str = tokenizer.decode(ids, skip_special_tokens=True)
        return Spoken(reasoning="", answer=text.strip(), is_cut=False)
    answer = spoken.answer
    for token in tokenizer.added_tokens_decoder.values():
        answer = answer.replace(str(token), "") if token.special else answer
    return Spoken(reasoning=spoken.reasoning, answer=answer.strip(), is_cut=False)


def answer_start(tokenizer: Any, ids: Sequence[int], *, is_open: bool = False) -> int | None:
    """How many tokens stand before the answer's first one: 0 without reasoning; None where there is no answer."""
    whole = read_spoken(tokenizer, ids, is_open=is_open)
    if not whole.answer or not whole.reasoning:
        return 0 if whole.answer else None
    low, high = 0, len(ids) - 1
    while low < high:  # an answer that is there stays there: halving finds its first token
        middle = (low + high) // 2
        spoken = read_spoken(tokenizer, ids[: middle + 1], is_open=is_open)
        if spoken.reasoning and spoken.answer:
            high = middle
        else:
            low = middle + 1
    return low


def _closing(text: str, *, is_open: bool) -> str | None:
    """What ends the reasoning that the text starts in; empty: any mark that does; None: it does not start in any."""
    if is_open:
        return ""
    opening = next((end for start, end in MARKS if text.startswith(start)), None)
    if opening is not None:
        return opening
    # A mark that closes what nothing opened: the prompt opened it, in a way that it does not end with.
    first_opening, first_closing = (_place(text, [pair[side] for pair in MARKS]) for side in (0, 1))
    return "" if first_closing < first_opening else None


def _after(text: str, mark: str) -> str | None:
    place = text.rfind(mark)
    return None if place < 0 else text[place + len(mark) :]


def _place(text: str, marks: Sequence[str]) -> int:
    places = [place for mark in marks if (place := text.find(mark)) >= 0]
    return min(places, default=len(text))


def _first(text: str, marks: Sequence[str]) -> tuple[str, str, str]:
    """The text parted at the first of the marks."""
    place = _place(text, marks)
    mark = next((mark for mark in marks if text.startswith(mark, place)), "")
    return text[:place], mark, text[place + len(mark) :]
