"""Prompts: which harmful and benign prompts does the analysis read, and how are they put to the model?

A prompt may name its template and its word pair; splits by both keep a probe from passing by word identity.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from securetune.errors import DataError

PROMPT_FIELDS = ("prompt", "instruction", "question", "text", "turns")

Row = TypeVar("Row")
Message = dict[str, str]
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


def read_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every non-empty line of a JSONL file.

    Raises:
        DataError: no such file, a line that is no JSON object, or no line at all.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")  # U+2028 may stand raw in a string
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DataError(f"Expected a JSONL file at {path}, found: {reason}. Check the path.") from error
    count = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"Expected a JSON object in {path} line {number}, found: {error}. Correct it.") from error
        if not isinstance(row, dict):
            raise DataError(
                f"Expected a JSON object in {path} line {number}, found {type(row).__name__}. Correct that line."
            )
        count += 1
        yield number, row
    if count == 0:
        raise DataError(f"Expected rows in {path}, found an empty file. Give a file with one JSON object per line.")


def load_prompts(
    path: str | Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    label: str | None = None,
    half: str | None = None,
) -> tuple[Prompt, ...]:
    """Read prompts from JSONL: the first of `PROMPT_FIELDS` that a row has is the text (of turns the first).

    Args:
        path: JSONL file.
        limit: at most this many prompts, drawn with `seed`.
        seed: seed of that draw.
        label: only rows whose ``label`` is this.
        half: ``even`` or ``odd`` rows only, so that one file can serve training and testing.

    Raises:
        DataError: unreadable file, a row without a prompt (named by line), or nothing left after the filters.
    """
    prompts = []
    for number, row in read_rows(path):
        text = next((found for field in PROMPT_FIELDS if (found := _first_turn(row.get(field)))), None)
        if text is None:
            raise DataError(
                f"Expected one of the fields {PROMPT_FIELDS} with text in {path} line {number}, "
                f"found fields {sorted(row)}. Rename the field or remove the line."
            )
        prompts.append(prompt_of(text, f"{Path(path).stem}_{number}", row, reference=row.get("answer")))
    return selected(prompts, str(path), limit=limit, seed=seed, label=label, half=half)


def _first_turn(value: object) -> str | None:
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, str) and first.strip() else None


def prompt_of(text: str, name: str, row: Mapping[str, Any], *, reference: object = None) -> Prompt:
    """A prompt with what else its row says; `name` is its id where the row has none."""
    return Prompt(
        text=text,
        id=str(row.get("id", name)),
        template=row.get("template"),
        pair=row.get("pair"),
        label=row.get("label"),
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
    head = [*([{"role": "system", "content": system}] if system else []), *turns]
    try:
        return [
            tokenizer.apply_chat_template(
                [*head, {"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
            for prompt in prompts
        ]
    except Exception as error:  # jinja raises its own and the template's errors
        raise DataError(f"Expected a chat template for a user message, found: {error}. Remove `system`?") from error


@dataclass(frozen=True, kw_only=True)
class TokenizedAnswer:
    """A prompt with its answer."""

    ids: list[int]
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
        raise DataError(
            "Expected a chat template whose prompt is the start of the whole conversation, found another one. Give the "
            "tokenizer a template that only appends."
        )
    return tokenize_answer(tokenizer, prompt, whole, max_length=max_length)


def repeated(rows: Sequence[Row], count: int, rng: random.Random) -> list[Row]:
    """`count` rows in random order, every one once before one comes twice."""
    return [row for _ in range(-(-count // len(rows))) for row in rng.sample(list(rows), len(rows))][:count]
