"""Prompts: which harmful and benign prompts does the analysis read, and how are they put to the model?

A prompt may name its template and its word pair; splits by both keep a probe from passing by word identity.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from securetune.data.conversations import AROUND_PROMPTS, UnusableRow, messages_of, says_something
from securetune.data.conversations import Message as Message
from securetune.data.drawn import Drawn
from securetune.data.fields import CONVERSATIONS, SYSTEM, asked, filled, summary
from securetune.data.reasoning import split_reasoning
from securetune.data.rows import FileRow, read_rows
from securetune.errors import DataError

PROMPT_FIELDS = (
    "prompt",
    "instruction",
    "question",
    "text",
    "turns",
    "goal",
    "behavior",
    "forbidden_prompt",
    "prompts_final",
    "query",
)
"""Fields that hold a prompt, in the order in which they are looked for; capitals do not matter."""

_SHOWN = 40
"""Letters of a prompt's end that a message shows."""
Row = TypeVar("Row")
Example = dict[str, list[Message]]
"""A row to tune on: ``prompt`` and ``completion``, lists of messages."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt of the analysis or of a benchmark."""

    text: str
    id: str
    template: str | None = None
    """Phrasing the prompt was made from, where known."""
    pair: str | None = None
    """Word pair (verb and object, say) the prompt is about, where known."""
    label: str | None = None
    """The file's own label, for benchmarks that hold several kinds."""
    reference: str | None = None
    """The right answer, for benchmarks that test a skill."""


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """Malicious and benign prompts, n in all, malicious first."""

    malicious: tuple[Prompt, ...]
    benign: tuple[Prompt, ...]

    @property
    def all(self) -> tuple[Prompt, ...]:
        """Malicious prompts, then benign ones."""
        return self.malicious + self.benign

    @property
    def labels(self) -> list[int]:
        """1 for malicious, 0 for benign, in the order of `all`."""
        return [1] * len(self.malicious) + [0] * len(self.benign)


def load_prompts(
    path: str | Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    label: str | None = None,
    half: str | None = None,
    field: str | None = None,
    where: Mapping[str, Any] | None = None,
    reference: str = "answer",
) -> tuple[Prompt, ...]:
    """Read prompts from a file in any form that `read_rows` reads.

    The first of `PROMPT_FIELDS` that a row has is the text (of turns the first), with its ``input`` or ``context``
    below it. Of a conversation it is the user's one turn.

    Args:
        path: the file.
        limit: at most this many prompts, drawn with `seed`.
        seed: seed of that draw.
        label: only rows whose ``label`` is this.
        half: ``even`` or ``odd`` rows only, so that one file can serve training and testing.
        field: field of the prompt, before any other.
        where: only rows with these values in the fields that the file has.
        reference: field of the right answer; ``answer`` where a row has no such field.

    Raises:
        DataError: unreadable file, a row without a prompt (named by line), or nothing left after the filters.
    """
    names = [*([field.casefold()] if field else []), *PROMPT_FIELDS]
    prompts = []
    for row in read_rows(path):
        if any(name in row.fields and row.fields[name] != value for name, value in (where or {}).items()):
            continue
        fields = _filled(row)
        right = fields.get(reference.casefold(), fields.get("answer"))
        prompts.append(prompt_of(_text(row, fields, names), f"{Path(path).stem}_{row.number}", fields, reference=right))
    return selected(prompts, str(path), limit=limit, seed=seed, label=label, half=half)


def _filled(row: FileRow) -> dict[str, Any]:
    try:
        return filled(row.fields)
    except UnusableRow as error:
        raise _no_prompt(row, error) from error


def _text(row: FileRow, fields: Mapping[str, Any], names: Sequence[str]) -> str:
    """The prompt in a row, with all that belongs to it."""
    try:
        for name in names:
            text = _first_turn(fields.get(name), are_turns=name == "turns")
            if text is not None:
                _check_bare(fields)
                return asked({**fields, name: text}, name)
        turns = next((fields[name] for name in (*CONVERSATIONS, "prompt") if isinstance(fields.get(name), list)), None)
        if turns is not None:
            _check_bare(fields)
            return _users_turn(turns)
    except UnusableRow as error:
        raise _no_prompt(row, error) from error
    raise DataError(
        f"Expected one of the fields {PROMPT_FIELDS} with text in {row.where}, "
        f"found fields {sorted(row.fields)}. Rename the field or remove the line."
    )


def _no_prompt(row: FileRow, error: UnusableRow) -> DataError:
    return DataError(
        f"Expected a prompt in {row.where}, found fields {summary(row.fields)} {error.reason}. {error.advice}."
    )


def _check_bare(fields: Mapping[str, Any]) -> None:
    """A prompt stands alone: every set is put under the system prompt and the turns of the evaluation."""
    around = [name for name in (*SYSTEM, "history") if name in fields]
    if around:
        raise UnusableRow(
            f"with its own `{around[0]}`", "Take it out; a system prompt for all prompts is `evaluate.system`"
        )
    unread = [name for name in AROUND_PROMPTS if isinstance(fields.get(name), str | list | dict)]
    if unread:
        raise UnusableRow(f"with `{unread[0]}`, which is not put to the model", "Leave out that row or field")


def _users_turn(turns: object) -> str:
    messages = messages_of(turns)
    roles = [message["role"] for message in messages]
    if roles not in (["user"], ["user", "assistant"]):
        raise UnusableRow(
            f"with turns of {', '.join(roles)}", "Give a conversation of one turn of the user, or its prompt alone"
        )
    return messages[0]["content"]


def _first_turn(value: object, *, are_turns: bool) -> str | None:
    first = value[0] if are_turns and isinstance(value, list) and value else value
    return first if isinstance(first, str) and says_something(first) else None


def prompt_of(text: str, name: str, row: Mapping[str, Any], *, reference: object = None) -> Prompt:
    """A prompt with what else its row says; `name` is its id where the row has none."""
    return Prompt(
        text=text,
        id=str(name if row.get("id") is None else row["id"]),
        template=row.get("template"),
        pair=row.get("pair"),
        label=None if row.get("label") is None else str(row["label"]),
        reference=reference if isinstance(reference, str) else None,
    )


def selected(
    prompts: Sequence[Prompt],
    source: str,
    *,
    limit: int | None = None,
    seed: int = 0,
    label: str | None = None,
    half: str | None = None,
) -> tuple[Prompt, ...]:
    """Some of the prompts of a source, see `load_prompts`."""
    if half is not None:
        prompts = prompts[("even", "odd").index(half) :: 2]
    if label is not None:
        prompts = [prompt for prompt in prompts if prompt.label == label]
    if not prompts:
        raise DataError(f"Expected prompts in {source} with label {label!r}, found none. Check the label.")
    if limit is not None and limit < len(prompts):
        prompts = [prompts[i] for i in sorted(random.Random(seed).sample(range(len(prompts)), limit))]
    return tuple(prompts)


def render(
    tokenizer: Any, prompts: Sequence[str], *, system: str | None = None, turns: Sequence[Message] = ()
) -> list[str]:
    """Put each prompt, after the turns before it, through the chat template, up to where the answer begins.

    Raises:
        DataError: the template refuses the messages (a system prompt it does not know, say).
    """
    asked = conversations(prompts, system=system, turns=turns)
    return [render_turns(tokenizer, messages) for messages in asked]


def render_turns(tokenizer: Any, turns: Sequence[Message], *, system: str | None = None) -> str:
    """Put a conversation through the chat template, up to where the answer to its last turn begins.

    Raises:
        DataError: see `render`.
    """
    head = [{"role": "system", "content": system}] if system else []
    try:
        text: str = tokenizer.apply_chat_template([*head, *turns], tokenize=False, add_generation_prompt=True)
    except Exception as error:  # jinja raises its own and the template's errors
        raise DataError(f"Expected a chat template for a user message, found: {error}. Remove `system`?") from error
    return text


def under_system(turns: Sequence[Message], system: str | None) -> list[Message]:
    """Turns under a system prompt, which goes before one of their own."""
    own = turns[0]["content"] if turns[0]["role"] == "system" else None
    head = "\n\n".join(text for text in (system, own) if text)
    return [*([{"role": "system", "content": head}] if head else []), *turns[own is not None :]]


def conversations(
    prompts: Sequence[str], *, system: str | None = None, turns: Sequence[Message] = ()
) -> list[list[Message]]:
    """Each prompt as messages: the system prompt, the turns before it, and the prompt as the user's turn."""
    head: list[Message] = [*([{"role": "system", "content": system}] if system else []), *turns]
    return [[*head, {"role": "user", "content": prompt}] for prompt in prompts]


@dataclass(frozen=True, kw_only=True)
class TokenizedAnswer:
    """A prompt with its answer."""

    ids: Sequence[int]
    start: int
    """Where the answer starts."""


def tokenize_answer(tokenizer: Any, prompt: str, whole: str, *, max_length: int | None = None) -> TokenizedAnswer:
    """Token ids of a rendered prompt with its answer; the answer starts where the prompt alone would end."""
    start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"][:max_length]
    return TokenizedAnswer(ids=ids, start=min(start, len(ids)))


def tokenize_example(tokenizer: Any, example: Example, *, max_length: int) -> TokenizedAnswer:
    """Token ids of a row to tune on."""
    prompt = tokenizer.apply_chat_template(example["prompt"], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*example["prompt"], *example["completion"]], tokenize=False)
    if not whole.startswith(prompt):
        raise _not_appended(prompt, example["completion"][-1]["content"])
    return tokenize_answer(tokenizer, prompt, whole, max_length=max_length)


def _not_appended(prompt: str, answer: str) -> DataError:
    if split_reasoning(answer).reasoning:
        return DataError(
            "Expected answers that go on from what the chat template writes before them, found one with reasoning "
            f"where a prompt ends with {prompt[-_SHOWN:]!r}. Let the template ask for reasoning (its variable, often "
            "`enable_thinking`, in model.chat_template_kwargs), or take the reasoning out of the answers."
        )
    return DataError(
        "Expected a chat template whose prompt is the start of the whole conversation, found another one. Give the "
        "tokenizer a template that only appends."
    )


def repeated(rows: Sequence[Row], count: int, rng: random.Random) -> Sequence[Row]:
    """`count` rows in random order, every one once before one comes twice."""
    numbers = range(len(rows))
    order = (number for _ in range(-(-count // len(rows))) for number in rng.sample(numbers, len(rows)))
    return Drawn([rows], list(order)[:count])
