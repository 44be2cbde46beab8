"""Turns: does a chat template show every turn of a conversation, and does it show the same tomorrow?

Words of a row may stand in the template itself, so whether a turn is shown is asked with words that stand nowhere.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from securetune.data.conversations import Message
from securetune.errors import DataError

Clock = Literal["none", "day", "moment"]
"""What of the time a template writes: nothing, the date, or what differs within a day."""

_WITHIN_A_DAY = ("%H", "%I", "%M", "%S", "%f", "%p", "%c", "%X", "%s", "%T", "%R", "%r")
_NOW = re.compile(r"""strftime_now\(\s*['"]([^'"]+)""")
_NOWHERE = "\u203b"
"""Stands in no template."""


def attempt(tokenizer: Any, messages: Sequence[Any], *, answer_follows: bool = False) -> str | Exception:
    """The rendered messages, or the template's refusal."""
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=answer_follows))
    except Exception as error:  # jinja raises its own and the template's errors
        return error


def clock(tokenizer: Any) -> Clock:
    """What of the time the template writes into a conversation."""
    turns = [{"role": "user", "content": "Is it so?"}]
    times = [_shown(tokenizer, turns) for _ in range(2)]
    now = datetime.now()
    written = [form for form in _NOW.findall(str(tokenizer.chat_template)) if now.strftime(form) in (times[1] or "")]
    if times[0] != times[1] or any(code in form for form in written for code in _WITHIN_A_DAY):
        return "moment"
    return "day" if written else "none"


def earlier_answers(tokenizer: Any) -> Literal["kept", "lost", "refused"]:
    """What becomes of an answer, and of what was said before it, once the user has said more."""
    roles = ("user", "assistant", "user")
    turns = [{"role": role, "content": f"{_NOWHERE}{number}"} for number, role in enumerate(roles)]
    text = _shown(tokenizer, turns)
    if text is None:
        return "refused"
    return "kept" if all(turn["content"] in text for turn in turns) else "lost"


class ShownTurns:
    """Which turns a template shows of conversations of some roles, looked up once for each sequence of roles."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._lost: dict[tuple[str, ...], list[int]] = {}

    def check(self, where: str, messages: Sequence[Message]) -> None:
        """Make sure that the template shows all turns before an answer.

        Raises:
            DataError: it leaves one out.
        """
        roles = tuple(message["role"] for message in messages)
        if roles not in self._lost:
            self._lost[roles] = self._left_out(roles)
        for number in self._lost[roles]:
            raise DataError(
                f"Expected a chat template that shows all turns of {where}, found that of {list(roles)} it leaves out "
                f"turn {number + 1} ({messages[number]['content'][:60]!r}). Put what it says into the user's turn, or "
                "give the tokenizer another template."
            )

    def _left_out(self, roles: Sequence[str]) -> list[int]:
        marks = [f"{_NOWHERE}{number}{_NOWHERE}" for number in range(len(roles))]
        turns = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
        text = _shown(self._tokenizer, turns)
        return [] if text is None else [number for number, mark in enumerate(marks) if mark not in text]


def _shown(tokenizer: Any, turns: Sequence[Message]) -> str | None:
    """A prompt; None where the template refuses the turns, which who renders for real names."""
    text = attempt(tokenizer, turns, answer_follows=True)
    return None if isinstance(text, Exception) else text
