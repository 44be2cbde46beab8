"""Fields: what does a row say, by whatever spelling of its fields, and is all of it used?"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from securetune.data.conversations import AROUND_ANSWERS, AROUND_PROMPTS, UnusableRow

CONVERSATIONS = ("messages", "conversations", "conversation")
"""Fields that hold a list of turns."""
SYSTEM = ("system", "system_prompt", "system_message", "system_instruction", "systeminstruction")
"""Fields that hold the row's own system prompt."""
EXTRAS = ("input", "context", "contextstring")
"""Fields that hold what a prompt is about."""
ANSWERS = ("output", "completion", "response", "answer")
"""Fields that hold an answer."""
_REQUESTS = ("instruction", "prompt", "question", "query")
_PREFERENCES = ("chosen", "rejected")
_OFFERED = ("options", "choices")
"""Fields that hold what a question lets one choose from."""
_READ = (*CONVERSATIONS, *SYSTEM, *EXTRAS, *ANSWERS, *_REQUESTS, "history")
_KNOWN = {*_READ, *_PREFERENCES, *_OFFERED, *AROUND_PROMPTS, *AROUND_ANSWERS}
_AS_TRAINED = {"weight": 1, "loss_weight": 1, "train": True, "loss": True, "label": True, "kto_tag": True}
"""Fields that say how much a row counts, or whether its answer is a good one -> what is done here."""
_NAMES_A_ROW = re.compile(r"(.*[_-])?(id|idx|index|uuid|hash)")
"""Fields that nobody misses."""
_SHOWN = 20
"""Fields of a row that a message names."""
_LONGEST = 80
"""Letters of such a name."""
_DATA = (str, list, dict)


def filled(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that hold something, by their names in small letters.

    Raises:
        UnusableRow: two names that differ in capitals alone.
    """
    fields: dict[str, Any] = {}
    for name, value in row.items():
        if value is None or value in ("", [], {}):
            continue
        key = name.strip().casefold()
        if key in fields:
            raise UnusableRow(f"of which two are called {key!r}", "Rename one of them")
        fields[key] = value
    return fields


def check_used(fields: Mapping[str, Any], used: Collection[str], texts: Collection[str]) -> None:
    """Make sure that of the known fields none is left unread, unless it repeats what was read.

    Args:
        fields: see `filled`.
        used: the fields that were read.
        texts: all that was made of them.

    Raises:
        UnusableRow: one that says something else.
    """
    for name, done in _AS_TRAINED.items():
        value = fields.get(name, done)
        if isinstance(value, bool if done is True else float | int) and value != done:
            raise UnusableRow(
                f"with `{name}` {value!r}, while the answer of every row is trained on alike",
                f"Leave that row out, for example by `skip`, or take `{name}` out",
            )
    read = ", ".join(f"`{name}`" for name in sorted(fields.keys() & set(used)))
    for name in sorted(_KNOWN & fields.keys() - set(used)):
        value = fields[name]
        text = value.strip() if isinstance(value, str) else None
        repeats = text is not None and any(text == t.strip() or (name in ANSWERS and text in t) for t in texts)
        if isinstance(value, _DATA) and not repeats:
            raise UnusableRow(
                f"where `{name}` would be left out next to {read}",
                f"Put what `{name}` says into these, or rename it where it is no part of the row's text",
            )


def unread(fields: Mapping[str, Any], used: Collection[str]) -> list[str]:
    """Fields with texts or lists that no format knows, and that nobody reads, but those that only name the row."""
    others = fields.keys() - set(used) - _KNOWN - _AS_TRAINED.keys()
    data = [name for name in sorted(others) if isinstance(fields[name], _DATA) and not _NAMES_A_ROW.fullmatch(name)]
    return [name[:_LONGEST] for name in data[:_SHOWN]]


def asked(fields: Mapping[str, Any], name: str) -> str:
    """The request in a field, with what it is about below it.

    Raises:
        UnusableRow: more than one field says what it is about, or one without text.
    """
    text: str = fields[name]
    extras = [field for field in EXTRAS if field in fields and field != name]
    if len(extras) > 1 and fields[extras[0]] != fields[extras[1]]:
        raise UnusableRow(f"with both `{extras[0]}` and `{extras[1]}`", "Put both into one of them")
    if not extras:
        return text
    extra = fields[extras[0]]
    if not isinstance(extra, str):
        raise UnusableRow(f"with {type(extra).__name__} in `{extras[0]}`", "Give it a text")
    if extras[0] == "contextstring":  # HarmBench's own way to put a behaviour
        return f"{extra}\n\n---\n\n{text}"
    return f"{text}\n\n{extra}".strip()


def summary(row: Mapping[str, Any]) -> str:
    """Names and types of a row's fields."""
    fields = [f"{key[:_LONGEST]}: {type(row[key]).__name__}{'' if row[key] else ' (empty)'}" for key in [*row][:_SHOWN]]
    return ", ".join(fields) + (f" and {len(row) - _SHOWN} more" if len(row) > _SHOWN else "")
