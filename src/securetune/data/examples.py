"""Examples: from the user's rows, in whichever of four formats, to prompt and answer.

Formats are told by their fields: ``instruction[/input]/output`` (Alpaca), ``messages`` (chat), ``prompt/completion``
(strings or message lists) and ``question/answer`` (GSM8K). All become TRL's conversational prompt-completion rows,
so the loss is on the answer only.
"""

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from securetune.data.config import DataConfig
from securetune.data.prompts import Example, read_rows, repeated
from securetune.errors import DataError

_CALCULATOR = re.compile(r"<<[^>]*>>")


def load_examples(config: DataConfig, *, seed: int) -> list[Example]:
    """Read, filter, convert and draw the rows of one source.

    Raises:
        DataError: unreadable source, a row of a wrong shape (named by line), or nothing left.
    """
    examples = [
        _convert(row, f"{config.path} line {number}")
        for number, row in source_rows(config)
        if not is_skipped(config, row)
    ]
    if not examples:
        raise DataError(f"Expected rows in {config.path} after skipping {config.skip}, found none. Check `skip`.")
    if config.limit is not None and config.limit < len(examples):
        examples = random.Random(seed).sample(examples, config.limit)
    return examples


def source_rows(config: DataConfig) -> Iterable[tuple[int, dict[str, Any]]]:
    """Every row of a source with its number, as it stands there.

    Raises:
        DataError: unreadable source.
    """
    return read_rows(config.path) if Path(config.path).exists() else _hub_rows(config)


def is_skipped(config: DataConfig, row: Mapping[str, Any]) -> bool:
    """Whether the configuration leaves this row out."""
    return any(row.get(field) == value for field, value in config.skip.items())


def replaced(rows: Sequence[Example], others: Sequence[Example], share: float, seed: int) -> list[Example]:
    """The rows with a share of them replaced by other rows, each of which serves once before one serves twice."""
    rng, count = random.Random(seed), round(share * len(rows))
    drawn = repeated(others, count, rng)
    places = dict(zip(rng.sample(range(len(rows)), count), drawn, strict=True))
    return [places.get(i, row) for i, row in enumerate(rows)]


def _hub_rows(config: DataConfig) -> list[tuple[int, dict[str, Any]]]:
    if config.path.startswith((".", "/", "~")) or config.path.endswith((".jsonl", ".json")):
        raise DataError(f"Expected a JSONL file at {config.path}, found nothing there. Check the path.")
    from datasets import load_dataset

    try:
        dataset = load_dataset(config.path, split=config.split, revision=config.revision)
    except Exception as error:  # the Hub client raises many kinds
        raise DataError(
            f"Expected a data set called {config.path!r} on the Hub, found: {str(error).splitlines()[0].rstrip('.')}. "
            "Check the name, the split and the network, or give a JSONL file."
        ) from error
    return list(enumerate(dataset, 1))


def _convert(row: Mapping[str, Any], where: str) -> Example:
    for fields, convert in _FORMATS.items():
        if all(field in row for field in fields):
            example = convert(row)
            if example is None:
                break
            return example
    raise DataError(
        f"Expected one of the formats {[' + '.join(fields) for fields in _FORMATS]} with non-empty text in {where}, "
        f"found fields {_summary(row)}. Rename the fields or correct that row."
    )


def _summary(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {type(value).__name__}{'' if value else ' (empty)'}" for key, value in row.items())


def _pair(prompt: object, answer: object) -> Example | None:
    if not (isinstance(prompt, str) and prompt.strip() and isinstance(answer, str) and answer.strip()):
        return None
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": answer}],
    }


def _from_instruction(row: Mapping[str, Any]) -> Example | None:
    extra = row.get("input") or ""
    if not isinstance(row["instruction"], str) or not isinstance(extra, str):
        return None
    return _pair(f"{row['instruction']}\n\n{extra}".strip(), row["output"])


def _from_messages(row: Mapping[str, Any]) -> Example | None:
    messages = row["messages"]
    if not _are_messages(messages) or len(messages) < 2 or messages[-1]["role"] != "assistant":
        return None
    return {"prompt": list(messages[:-1]), "completion": [messages[-1]]}


def _from_completion(row: Mapping[str, Any]) -> Example | None:
    prompt, completion = row["prompt"], row["completion"]
    if _are_messages(prompt) and _are_messages(completion):
        return {"prompt": list(prompt), "completion": list(completion)}
    return _pair(prompt, completion)


def _from_question(row: Mapping[str, Any]) -> Example | None:
    answer = row["answer"]
    return _pair(row["question"], _CALCULATOR.sub("", answer) if isinstance(answer, str) else answer)


def _are_messages(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(m, dict)
            and isinstance(m.get("role"), str)
            and isinstance(m.get("content"), str)
            and m["content"]
            for m in value
        )
    )


_FORMATS: dict[tuple[str, ...], Callable[[Mapping[str, Any]], Example | None]] = {
    ("messages",): _from_messages,
    ("instruction", "output"): _from_instruction,
    ("prompt", "completion"): _from_completion,
    ("question", "answer"): _from_question,
}
