"""Conversations: from a row's turns, by whatever names they go, to messages that a chat template knows."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from securetune.data.config import TrainedTurns

Message = dict[str, str]

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
}
"""What data sets call a speaker -> what chat templates call it."""
AROUND_PROMPTS = (
    "audio",
    "chat_template_kwargs",
    "documents",
    "functions",
    "image",
    "images",
    "tools",
    "video",
    "videos",
)
"""Fields of a row or a turn that a model would be given with a prompt, and is not given here."""
AROUND_ANSWERS = ("function_call", "reasoning", "reasoning_content", "thinking", "tool_calls")
"""Fields of a row or a turn that a model would say besides an answer's text, and is not taught here."""
_SPEAKERS, _SAID = ("role", "from", "speaker"), ("content", "value", "text")
"""What data sets call the fields of a turn."""
_TEXTS = ("text", "input_text", "output_text")
"""What they call a part of a turn that is text."""
_UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf")
"""Kinds of characters that nobody sees."""
_OF_A_TURN = ("name", "prefix", "refusal", "tool_call_id")
"""Such fields that only a turn has."""
_TRAINED = ("weight", "loss_weight", "train", "trainable", "training", "loss")
_UNTRAINED = ("mask", "masked")
"""Fields of a turn that say whether it is trained on, or that it is not."""


class UnusableRow(Exception):
    """A row that cannot be used as it is: what is wrong with it, and what to do."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason, advice)
        self.reason, self.advice = reason, advice


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of a conversation."""

    message: Message
    is_trained: bool | None
    """Whether it is to be trained, by its own word; None where it says nothing of it."""

    @property
    def role(self) -> str:
        """Who speaks, as chat templates call it."""
        return self.message["role"]


def messages_of(turns: object) -> list[Message]:
    """The messages of some turns, see `turns_of`."""
    return [turn.message for turn in turns_of(turns)]


def turns_of(turns: object) -> list[Turn]:
    """Turns with speakers and texts by the names of chat templates or of ShareGPT; an empty system turn is none.

    Raises:
        UnusableRow: a turn without text, of an unknown speaker, or with more than text; a system turn in the middle.
    """
    if not isinstance(turns, list) or not turns:
        raise UnusableRow("where a list of turns should be", "Give a list of objects with `role` and `content`")
    read = [_turn(turn, number) for number, turn in enumerate(turns, 1)]
    late = [number for number, turn in enumerate(read, 1) if number > 1 and turn is not None and turn.role == "system"]
    if late:
        raise UnusableRow(f"with a system turn in place {late[0]}", "Put it first, or take it out")
    return [turn for turn in read if turn is not None]


def trained_turns(turns: Sequence[Turn], which: TrainedTurns) -> list[int]:
    """Places, from 0, of the turns that are trained: answers of the assistant to a user or to a tool.

    What the assistant says before anybody has asked is read, and not trained.

    Raises:
        UnusableRow: there is none, turns of the assistant follow one another, or a turn says otherwise of itself.
    """
    roles = [turn.role for turn in turns]
    pairs = list(zip(["", *roles], roles, strict=False))
    if ("assistant", "assistant") in pairs:
        raise UnusableRow(f"with turns of {', '.join(roles)}", "Join turns of the assistant that follow one another")
    answers = [n for n, pair in enumerate(pairs) if pair in (("user", "assistant"), ("tool", "assistant"))]
    if not answers or (which == "last" and answers[-1] != len(turns) - 1):
        raise UnusableRow(
            f"with turns of {', '.join(roles)}", "End the row with one turn of the user and one of the assistant"
        )
    trained = answers[-1:] if which == "last" else [n for n in answers if turns[n].is_trained is not False]
    for number, turn in enumerate(turns):
        if turn.is_trained is not None and turn.is_trained != (number in trained):
            raise UnusableRow(
                f"where turn {number + 1} of {len(turns)} says that it is {'' if turn.is_trained else 'not '}trained, "
                f"while {'the last turn and no other' if which == 'last' else 'every answer to a user and no other'} "
                "can be",
                "Take out what it says, or set `trained_turns` otherwise",
            )
    if not trained:
        raise UnusableRow("of which no turn is to be trained, by their own words", "Leave out that row")
    return trained


def _turn(turn: object, number: int) -> Turn | None:
    """A turn; None where the system says nothing."""
    if not isinstance(turn, Mapping):
        raise UnusableRow(f"with {type(turn).__name__} as turn {number}", "Give an object with `role` and `content`")
    turn = _small(turn, number)
    speaker, content = _either(turn, _SPEAKERS, number), _either(turn, _SAID, number)
    role = _ROLES.get(speaker.strip().casefold()) if isinstance(speaker, str) else None
    if role is None:
        raise UnusableRow(
            f"with {speaker!r} as the speaker of turn {number}", f"Name the speaker one of {', '.join(_ROLES)}"
        )
    extra = [name for name in (*AROUND_PROMPTS, *AROUND_ANSWERS, *_OF_A_TURN) if turn.get(name)]
    if extra:
        raise UnusableRow(f"with `{extra[0]}` in turn {number}, which is not trained", "Leave out that row or field")
    is_trained = _is_trained(turn, number)
    if role == "system" and not content and number == 1:
        return None
    return Turn(message={"role": role, "content": _text(content, number)}, is_trained=is_trained)


def _small(turn: Mapping[Any, object], number: int) -> dict[str, object]:
    """A turn with the names of its fields in small letters."""
    small = {str(name).strip().casefold(): value for name, value in turn.items()}
    if len(small) < len(turn):
        raise UnusableRow(f"with fields in turn {number} that differ in capitals alone", "Rename one of them")
    return small


def _either(turn: Mapping[str, object], names: Sequence[str], number: int) -> object:
    """What a field says that goes by several names."""
    given = [name for name in names if turn.get(name) is not None]
    for name in given[1:]:
        if turn[name] != turn[given[0]]:
            raise UnusableRow(f"with both `{given[0]}` and `{name}` in turn {number}", "Keep the one that counts")
    return turn[given[0]] if given else None


def _is_trained(turn: Mapping[str, object], number: int) -> bool | None:
    """What a turn says of its training."""
    said = {name: turn[name] for name in (*_TRAINED, *_UNTRAINED) if turn.get(name) is not None}
    for name, value in said.items():
        if value not in (0, 1):
            raise UnusableRow(
                f"with `{name}` {value!r} in turn {number}, while a turn is trained or is not", f"Make `{name}` 0 or 1"
            )
    words = {bool(value) == (name in _TRAINED) for name, value in said.items()}
    if len(words) > 1:
        raise UnusableRow(f"with both {' and '.join(f'`{name}`' for name in said)} in turn {number}", "Keep one")
    return next(iter(words), None)


def says_something(text: str) -> bool:
    """Whether there is a character to be seen: joiners, marks of direction and control characters are none."""
    return any(unicodedata.category(character) not in _UNSEEN for character in text)


def _text(content: object, number: int) -> str:
    """A turn's text; parts of text are put together."""
    if isinstance(content, list):
        for part in content:
            if not (isinstance(part, Mapping) and isinstance(part.get("text"), str) and part.get("type") in _TEXTS):
                kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
                raise UnusableRow(f"with a part {kind!r} in turn {number}, which is no text", "Leave out that row")
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str) or not says_something(content):
        found = "no text" if not content else f"{type(content).__name__}{' of spaces' * isinstance(content, str)}"
        raise UnusableRow(f"with {found} in turn {number}", "Give its `content` a text, or leave out that row")
    return content
