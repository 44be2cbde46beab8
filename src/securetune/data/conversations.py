"""Conversations: from a row's turns, by whatever names they go, to messages that a chat template knows."""

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
_NOT_TRAINED = (
    "tool_calls",
    "tool_call_id",
    "function_call",
    "reasoning_content",
    "reasoning",
    "thinking",
    "name",
    "images",
    "audio",
)
"""Fields of a turn that mean something to a model and are not trained on here."""


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
    speaker, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    role = _ROLES.get(speaker.casefold()) if isinstance(speaker, str) else None
    if role is None:
        raise UnusableRow(
            f"with {speaker!r} as the speaker of turn {number}", f"Name the speaker one of {', '.join(_ROLES)}"
        )
    extra = [name for name in _NOT_TRAINED if turn.get(name)]
    if extra:
        raise UnusableRow(f"with `{extra[0]}` in turn {number}, which is not trained", "Leave out that row or field")
    weight = turn.get("weight")
    if role == "assistant" and weight is not None and bool(weight) != (number == last):
        raise UnusableRow(
            f"with `weight` {weight!r} in turn {number} of {last}, while the last turn and no other is trained",
            "Take the weights out; where another turn should be trained, end a row there",
        )
    return {"role": role, "content": _text(content, number)}


def _text(content: object, number: int) -> str:
    """A turn's text; parts of text are put together."""
    if isinstance(content, list):
        for part in content:
            if not (isinstance(part, Mapping) and isinstance(part.get("text"), str) and part.get("type") == "text"):
                kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
                raise UnusableRow(f"with a part {kind!r} in turn {number}, which is no text", "Leave out that row")
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str) or not content.strip():
        found = "no text" if not content else f"{type(content).__name__}{' of spaces' * isinstance(content, str)}"
        raise UnusableRow(f"with {found} in turn {number}", "Give its `content` a text, or leave out that row")
    return content
