"""Rendering: what do the chat template and the tokenizer make of rows and prompts, before anything is trained on them?

Lengths are counted as TRL's trainer counts them: a row is cut at the longest length, and dropped where nothing of its
answer is left. No model is needed, and no torch.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal, TypeVar

import numpy as np

from securetune.data.examples import SourceRows
from securetune.data.prompts import Example, Message, render, tokenize_example
from securetune.data.reasoning import has_marks, opens_reasoning, split_reasoning, without_marks
from securetune.data.turns import Clock, ShownTurns, attempt, clock, earlier_answers
from securetune.errors import DataError, ModelError

T = TypeVar("T")

_SYSTEM, _USER, _MORE, _ANSWER = "Speak of gardens.", "Which flower opens first?", "And last?", "The snowdrop does."
_SHOWN_WORD_FOR_WORD = ("system", "user", "tool")
"""Roles whose turns no template may change; it may take reasoning out of earlier answers."""
_TOGETHER = 1000
"""Rows, or prompts, whose texts and tokens are held at once."""
_DIGEST = 16
"""Bytes that stand for a row where it is looked for among the others."""
_SHOWN = 60
"""Characters of a row that tell which one it is."""

SystemTurn = Literal["kept", "merged", "lost", "refused"]
"""A turn of its own, part of the user's turn, left out without a word, or an error."""
TwoTurns = Literal["kept", "lost", "refused"]


@dataclass(frozen=True, kw_only=True)
class Template:
    """What a chat template does."""

    system: SystemTurn
    """With a system turn."""
    two_user_turns: TwoTurns
    """With two turns of the user in a row."""
    end: str | None
    """The token behind an answer; None where nothing ends it."""
    thinking: bool
    """Whether the answer is to begin with reasoning."""
    earlier_answers: TwoTurns = "kept"
    """With an answer and another turn of the user behind it; its reasoning may be left out."""
    clock: Clock = "none"
    """What of the time it writes."""


@dataclass(frozen=True, kw_only=True)
class RowsFound:
    """What is there of one source of rows, and what is left of it."""

    source: str
    read: int | None
    """Rows in the file; None where they were taken out of another source."""
    skipped: int | None
    """Left out by `skip`, or as they cannot be used."""
    used: int
    """Left by `skip`, `limit` and the split."""
    duplicated: int
    """Used rows that stand in an earlier one word for word."""
    dropped: int
    """Used rows of whose answer nothing is left within the longest length: nobody trains on them."""
    cut: int
    """Used rows that lose the end of their answer, and with it the token that ends it."""
    longest: int
    """Tokens of the longest used row."""
    marked: int = 0
    """Used rows whose own text holds a special token, which the model reads as one."""
    endless: int = 0
    """Used rows behind whose answer the template leaves out the token that it puts behind others."""
    unthought: int = 0
    """Used rows with reasoning in earlier answers that the template leaves out."""


@dataclass(frozen=True, kw_only=True)
class PromptsFound:
    """What is there of one set of prompts."""

    name: str
    used: int
    duplicated: int
    longest: int
    """Tokens of the longest prompt, with all that stands around it."""
    marked: int = 0
    """Prompts that hold a special token, which the model reads as one."""
    answer: int | None = None
    """Tokens of the longest answer, where it is not that of the other sets."""


def check_template(tokenizer: Any) -> Template:
    """What the template does with short made-up conversations.

    Raises:
        ModelError: no tokenizer, but a processor.
        DataError: the template does not show what the user or the assistant says.
    """
    if not hasattr(tokenizer, "all_special_ids"):
        raise ModelError(
            f"Expected a tokenizer, found {type(tokenizer).__name__}, which also reads pictures or sound. Give its "
            "`.tokenizer`."
        )
    prompt = _rendered_user(tokenizer)
    whole = attempt(tokenizer, [_user(_USER), {"role": "assistant", "content": _ANSWER}])
    if isinstance(whole, Exception) or _ANSWER not in whole:
        raise DataError(f"Expected a chat template that shows an answer, found {_seen(whole)}. Correct it.")
    _check_opened(tokenizer, prompt, whole)
    end = end_mark(tokenizer, whole.rpartition(_ANSWER)[2])
    return Template(
        system=_system_turn(tokenizer, prompt),
        two_user_turns=_two_user_turns(tokenizer),
        end=None if end is None else str(tokenizer.convert_ids_to_tokens(end)),
        thinking=opens_reasoning(prompt),
        earlier_answers=earlier_answers(tokenizer),
        clock=clock(tokenizer),
    )


def end_mark(tokenizer: Any, behind: str) -> int | None:
    """The first token behind an answer that never comes out of ordinary text; None where there is none.

    Args:
        tokenizer: the model's tokenizer.
        behind: what the template writes there.
    """
    marks = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return next((token for token in _ids(tokenizer, [behind])[0] if token in marks), None) if behind else None


def check_rows(
    tokenizer: Any,
    source: str,
    rows: Sequence[Example],
    *,
    max_length: int,
    loaded: SourceRows | None = None,
    field: str = "train.max_length",
) -> RowsFound:
    """Render and tokenize every row of a source.

    Args:
        tokenizer: the model's tokenizer.
        source: what the rows are called.
        rows: those that are used.
        max_length: longest row in tokens.
        loaded: what was read of the source; None where they were taken out of another one.
        field: where `max_length` is set, for the error.

    Raises:
        DataError: the template refuses a row or leaves out what a row says, its prompt is not how the whole begins, or
            no row has any of its answer within `max_length`.
    """
    dropped = cut = longest = marked = endless = unthought = 0
    special, shown, end = _special_tokens(tokenizer), ShownTurns(tokenizer), _end_text(tokenizer)
    shortest_prompt, digests = math.inf, bytearray()
    for part in _parts(rows):
        for row in part:
            digests += hashlib.blake2b(repr(row).encode(), digest_size=_DIGEST).digest()
            marked += any(special.search(message["content"]) for message in (*row["prompt"], *row["completion"]))
        for length in _lengths(tokenizer, source, part):
            dropped += length.is_dropped(max_length)
            cut += length.whole > max_length
            endless += end not in length.behind
            unthought += length.is_unthought
            longest = max(longest, length.whole)
            shortest_prompt = min(shortest_prompt, length.prompt)
        for row in part:
            shown.check(f"the rows of {source}", row["prompt"])
    if dropped == len(rows):
        raise DataError(
            f"Expected rows with some of their answer within {max_length} tokens in {source}, found none of "
            f"{len(rows)}: the shortest prompt has {shortest_prompt} tokens. Raise {field}."
        )
    return RowsFound(
        source=source,
        read=None if loaded is None else loaded.read,
        skipped=None if loaded is None else loaded.skipped,
        used=len(rows),
        duplicated=len(rows) - len(np.unique(np.frombuffer(digests, f"S{_DIGEST}"))),
        dropped=dropped,
        cut=cut - dropped,
        longest=longest,
        marked=marked,
        endless=endless,
        unthought=unthought,
    )


def check_prompts(
    tokenizer: Any,
    name: str,
    prompts: Sequence[str],
    *,
    systems: Sequence[str | None] = (None,),
    turns: Sequence[Message] = (),
) -> PromptsFound:
    """Render and tokenize every prompt of a set under every system prompt.

    Args:
        tokenizer: the model's tokenizer.
        name: what the set is called.
        prompts: what the user says, with whatever an attack puts around it.
        systems: system prompts in use; None for none.
        turns: the conversation before the prompt.

    Raises:
        DataError: the template refuses a prompt, or leaves out what the user or the system prompt says.
    """
    longest, special, shown = 0, _special_tokens(tokenizer), ShownTurns(tokenizer)
    for system in systems:
        for part in _parts(prompts):
            texts = render(tokenizer, part, system=system, turns=turns)
            for prompt, text in zip(part, texts, strict=True):
                _check_shown(f"the prompts of {name}", [*((system,) if system else ()), prompt], text)
            longest = max(longest, *(len(ids) for ids in _ids(tokenizer, texts)))
        head = [{"role": "system", "content": system}] if system else []
        shown.check(f"the prompts of {name}", [*head, *turns, _user(next(iter(prompts), ""))])
    marked = sum(special.search(prompt) is not None for prompt in prompts)
    return PromptsFound(name=name, used=len(prompts), duplicated=_duplicates(prompts), longest=longest, marked=marked)


def longest_text(tokenizer: Any, texts: Sequence[str]) -> int:
    """Tokens of the longest of some rendered texts."""
    return max((len(ids) for part in _parts(texts) for ids in _ids(tokenizer, part)), default=0)


@dataclass(frozen=True, kw_only=True)
class _Length:
    prompt: int
    """Tokens before the first one that is trained on."""
    whole: int
    behind: str
    """What the template writes behind the answer."""
    is_unthought: bool
    """Whether it leaves out reasoning of earlier answers."""

    def is_dropped(self, max_length: int) -> bool:
        return self.prompt >= min(self.whole, max_length)


def _lengths(tokenizer: Any, source: str, rows: Sequence[Example]) -> Iterator[_Length]:
    prompts, wholes = [], []
    for number, row in enumerate(rows):
        prompt, whole = _rendered_row(tokenizer, source, row)
        if number == 0 or not whole.startswith(prompt):
            tokenize_example(tokenizer, row, max_length=len(whole))  # raises where the evaluation would
        prompts.append(prompt)
        wholes.append(whole)
    rendered = zip(rows, prompts, wholes, strict=True)
    for alone, together in zip(_ids(tokenizer, prompts), _ids(tokenizer, wholes), strict=True):
        same = takewhile(lambda pair: pair[0] == pair[1], zip(alone, together, strict=False))
        row, prompt, whole = next(rendered)
        earlier = [message["content"] for message in row["prompt"] if message["role"] == "assistant"]
        tail, answer = whole[len(prompt) :], split_reasoning(row["completion"][-1]["content"]).answer
        thoughts = [without_marks(split_reasoning(answer).reasoning) for answer in earlier]
        yield _Length(
            prompt=sum(1 for _ in same),
            whole=len(together),
            behind=tail.partition(answer)[2] if answer and answer in tail else tail,
            is_unthought=any(thought not in prompt for thought in thoughts),
        )


def _rendered_row(tokenizer: Any, source: str, row: Example) -> tuple[str, str]:
    """A row's prompt, and its prompt with its answer."""
    prompt = attempt(tokenizer, row["prompt"], answer_follows=True)
    whole = attempt(tokenizer, [*row["prompt"], *row["completion"]])
    if isinstance(prompt, Exception) or isinstance(whole, Exception):
        refusal = prompt if isinstance(prompt, Exception) else whole
        roles = [message["role"] for message in (*row["prompt"], *row["completion"])]
        raise DataError(
            f"Expected rows in {source} that the chat template takes, found one with the turns {roles} "
            f"({_shown(row['prompt'][-1]['content'])}) that it refuses: {refusal}. "
            "Put what a system turn says into the user's turn, join turns of one role, or give the tokenizer another "
            "template."
        )
    said = [
        text if role in _SHOWN_WORD_FOR_WORD else split_reasoning(text).answer
        for role, text in ((message["role"], message["content"]) for message in row["prompt"])
    ]
    _check_shown(f"the rows of {source}", said, prompt)
    _check_answer_shown(source, row["completion"][-1]["content"], whole.removeprefix(prompt))
    return prompt, whole


def _check_answer_shown(source: str, answer: str, rendered: str) -> None:
    """Make sure that the answer that is trained is the row's, its reasoning included."""
    spoken = split_reasoning(answer)
    thoughts = without_marks(spoken.reasoning)
    for part in (thoughts, spoken.answer):
        if part.strip() not in rendered:
            raise DataError(
                f"Expected a chat template that shows the answers of {source} as they are, found that it leaves out or "
                f"changes {_shown(part)}. Take out of the answers what it does not show, or give the tokenizer another "
                "template."
            )


def _check_shown(where: str, said: Sequence[str], text: str) -> None:
    """Make sure that all that was said is in the rendered text."""
    for part, times in Counter(part.strip() for part in said).items():
        if text.count(part) < times:
            raise DataError(
                f"Expected a chat template that shows all that is said in {where}, found that it leaves out "
                f"{_shown(part)}. Put it into the user's turn, or give the tokenizer another template."
            )


def _rendered_user(tokenizer: Any) -> str:
    """The prompt that one message of the user becomes."""
    text = attempt(tokenizer, [_user(_USER)], answer_follows=True)
    if not isinstance(text, Exception) and _USER in text:
        return text
    in_parts = attempt(tokenizer, [_user([{"type": "text", "text": _USER}])], answer_follows=True)
    if not isinstance(in_parts, Exception) and _USER in in_parts and "'type'" not in in_parts:
        raise DataError(
            "Expected a chat template that takes a message's content as text, found one that wants it as a list of "
            "parts: it renders an empty turn of the user. Give the tokenizer the template of the text model, or let "
            "its template take `message['content']` where that is a string."
        )
    raise DataError(f"Expected a chat template that shows a user's message, found {_seen(text)}. Correct it.")


def _check_opened(tokenizer: Any, prompt: str, whole: str) -> None:
    """Make sure that a prompt opens the turn of the assistant, which the model would have to open itself else."""
    header = whole.removeprefix(prompt).partition(_ANSWER)[0]
    is_left_out = prompt == attempt(tokenizer, [_user(_USER)]) and whole.startswith(prompt)
    if is_left_out and not has_marks(header) and end_mark(tokenizer, header) is not None:
        raise DataError(
            f"Expected a chat template that opens the assistant's turn where an answer follows, found that it writes "
            f"{header!r} with the answer alone. Let it write that where `add_generation_prompt` is true."
        )


def _special_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Finds them in a text; of the tokens that are added, those that only look like words are no such."""
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= {_end_text(tokenizer)} - {""}
    return re.compile("|".join(map(re.escape, sorted(special))) or r"(?!)")


def _end_text(tokenizer: Any) -> str:
    """The token that the template puts behind an answer; empty where it puts none."""
    whole = attempt(tokenizer, [_user(_USER), {"role": "assistant", "content": _ANSWER}])
    end = None if isinstance(whole, Exception) else end_mark(tokenizer, whole.rpartition(_ANSWER)[2])
    return "" if end is None else str(tokenizer.convert_ids_to_tokens(end))


def _system_turn(tokenizer: Any, prompt: str) -> SystemTurn:
    text = attempt(tokenizer, [{"role": "system", "content": _SYSTEM}, _user(_USER)], answer_follows=True)
    if isinstance(text, Exception):
        return "refused"
    if _SYSTEM not in text or _USER not in text:
        return "lost"
    before_user, before_system = prompt.partition(_USER)[0], text.partition(_SYSTEM)[0]
    return "merged" if before_user and before_system.startswith(before_user) else "kept"


def _two_user_turns(tokenizer: Any) -> TwoTurns:
    text = attempt(tokenizer, [_user(_USER), _user(_MORE)], answer_follows=True)
    if isinstance(text, Exception):
        return "refused"
    return "kept" if _USER in text and _MORE in text else "lost"


def _user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _seen(text: str | Exception) -> str:
    return f"that it refuses it: {text}" if isinstance(text, Exception) else repr(text)


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids


def _parts(items: Sequence[T]) -> Iterator[list[T]]:
    return (list(items[start : start + _TOGETHER]) for start in range(0, len(items), _TOGETHER))


def _duplicates(values: Sequence[str]) -> int:
    return sum(count - 1 for count in Counter(values).values())


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
