"""Conversations: from a row's turns, by whatever names they go, to messages that a chat template knows."""

import unicodedata
from collections.abc import Mapping

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


def messages_of(turns: object) -> list[Message]:
    """The turns as messages; speakers and texts by the names of chat templates or of ShareGPT.

    Raises:
        UnusableRow: a turn without text, of an unknown speaker, or with more than text; a system turn in the middle.
    """
    if not isinstance(turns, list) or not turns:
        raise UnusableRow("where a list of turns should be", "Give a list of objects with `role` and `content`")
    messages = [_message(turn, number, len(turns)) for number, turn in enumerate(turns, 1)]
    late = [number for number, message in enumerate(messages, 1) if number > 1 and message["role"] == "system"]
    if late:
        raise UnusableRow(f"with a system turn in place {late[0]}", "Put it first, or take it out")
    return messages


def _message(turn: object, number: int, last: int) -> Message:
    if not isinstance(turn, Mapping):
        raise UnusableRow(f"with {type(turn).__name__} as turn {number}", "Give an object with `role` and `content`")
    speaker, content = _either(turn, "role", "from", number), _either(turn, "content", "value", number)
    role = _ROLES.get(speaker.casefold()) if isinstance(speaker, str) else None
    if role is None:
        raise UnusableRow(
            f"with {speaker!r} as the speaker of turn {number}", f"Name the speaker one of {', '.join(_ROLES)}"
        )
    extra = [name for name in (*AROUND_PROMPTS, *AROUND_ANSWERS, *_OF_A_TURN) if turn.get(name)]
    if extra:
        raise UnusableRow(f"with `{extra[0]}` in turn {number}, which is not trained", "Leave out that row or field")
    _check_trained(turn, number, last, is_trained=role == "assistant" and number == last)
    return {"role": role, "content": _text(content, number)}


def _either(turn: Mapping[str, object], name: str, other: str, number: int) -> object:
    """What a field says that goes by two names."""
    values = [turn[key] for key in (name, other) if turn.get(key) is not None]
    if len(values) > 1 and values[0] != values[1]:
        raise UnusableRow(f"with both `{name}` and `{other}` in turn {number}", "Keep the one that counts")
    return values[0] if values else None


def _check_trained(turn: Mapping[str, object], number: int, last: int, *, is_trained: bool) -> None:
    """Make sure that what a turn says of its training is what happens."""
    for name in (*_TRAINED, *_UNTRAINED):
        value = turn.get(name)
        wanted = is_trained if name in _TRAINED else not is_trained
        if value is not None and value != wanted:
            raise UnusableRow(
                f"with `{name}` {value!r} in turn {number} of {last}, while the last turn and no other is trained",
                f"Take `{name}` out; where another turn should be trained, end a row there",
            )


def says_something(text: str) -> bool:
    """Whether there is a character to be seen: joiners, marks of direction and control characters are none."""
    return any(unicodedata.category(character) not in _UNSEEN for character in text)


def _text(content: object, number: int) -> str:
    """A turn's text; parts of text are put together."""
    if isinstance(content, list):
        for part in content:
            if not (isinstance(part, Mapping) and isinstance(part.get("text"), str) and part.get("type") == "text"):
                kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
                raise UnusableRow(f"with a part {kind!r} in turn {number}, which is no text", "Leave out that row")
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str) or not says_something(content):
        found = "no text" if not content else f"{type(content).__name__}{' of spaces' * isinstance(content, str)}"
        raise UnusableRow(f"with {found} in turn {number}", "Give its `content` a text, or leave out that row")
    return content
