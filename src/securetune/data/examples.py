"""Examples: from the user's rows, in whichever format, to prompt and answer.

Formats are told by their fields: a conversation (``messages``, ``conversations``), a pair of a request and an answer
(``instruction`` with ``output``, ``prompt`` with ``completion``, ``question`` with ``answer`` and others), or
``prompt`` and ``completion`` as lists of messages. A pair may have an ``input`` or ``context``, a ``system`` prompt and
a ``history`` of turns. All become TRL's conversational prompt-completion rows, so the loss is on the answer only: of a
conversation the last turn is trained, the turns before it are read. A known field is used, or its row is refused.
"""

import random
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securetune.base.places import is_here, looks_local
from securetune.data.config import DataConfig
from securetune.data.conversations import Message, UnusableRow, messages_of, says_something
from securetune.data.drawn import Drawn
from securetune.data.fields import CONVERSATIONS, EXTRAS, SYSTEM, asked, check_used, filled, summary
from securetune.data.prompts import Example, repeated
from securetune.data.rows import FileRow, read_rows
from securetune.data.stored import store
from securetune.errors import DataError

_PAIRS = (
    ("instruction", "output"),
    ("prompt", "completion"),
    ("question", "answer"),
    ("instruction", "response"),
    ("prompt", "response"),
    ("question", "response"),
    ("query", "response"),
    ("instruction", "completion"),
    ("instruction", "answer"),
    ("prompt", "output"),
    ("prompt", "answer"),
    ("question", "output"),
    ("query", "answer"),
    ("input", "output"),
)
"""What asks and what answers; the first pair that a row has counts."""
_FORMATS = [*CONVERSATIONS, *(" + ".join(pair) for pair in _PAIRS)]
_GSM8K_END = re.compile(r"\n#### *-?[\d.,$]+\s*\Z")
_GSM8K_MARK = re.compile(r"<<[^<>=]*=[^<>]*>>")


@dataclass(frozen=True, kw_only=True)
class SourceRows:
    """What is there of one source."""

    rows: Sequence[Example]
    """Left by `skip` and `limit`; read from a file when they are asked for."""
    read: int
    """Rows that stand there."""
    skipped: int
    """Left out by `skip`."""


def load_examples(
    config: DataConfig, *, seed: int, shuffled: bool = False, folder: Path | None = None
) -> Sequence[Example]:
    """The rows of one source, see `load_source`."""
    return load_source(config, seed=seed, shuffled=shuffled, folder=folder).rows


def load_source(config: DataConfig, *, seed: int, shuffled: bool = False, folder: Path | None = None) -> SourceRows:
    """Read, filter, convert and draw the rows of one source, however many they are.

    Args:
        config: the source.
        seed: seed of the draw.
        shuffled: in random order also where `config` sets no limit, and rows would come as they stand in the file.
        folder: where the converted rows lie, without a name, for as long as they are used; by default where the system
            keeps temporary files.

    Raises:
        DataError: unreadable source, a row of a wrong shape (named by line), or nothing left.
    """
    reading = _Reading(config)
    examples = store(reading.examples(), folder)
    if not len(examples):
        raise DataError(f"Expected rows in {config.path} after skipping {config.skip}, found none. Check `skip`.")
    rows: Sequence[Example] = examples
    count = min(config.limit or len(examples), len(examples))
    if shuffled or count < len(examples):
        rows = Drawn([examples], random.Random(seed).sample(range(len(examples)), count))
    return SourceRows(rows=rows, read=reading.read, skipped=reading.read - len(examples))


def source_rows(config: DataConfig) -> Iterator[FileRow]:
    """Every row of a source, as it stands there.

    Raises:
        DataError: unreadable source.
    """
    if is_here(config.path) or looks_local(config.path):
        _check_file_is_whole(config)
        return read_rows(config.path)
    return _hub_rows(config)


def _check_file_is_whole(config: DataConfig) -> None:
    """Make sure that nobody expects a part of a file that only a data set on the Hub has."""
    of_hub = [f"{name}: {value}" for name, value in (("split", config.split), ("revision", config.revision)) if value]
    if of_hub != [f"split: {DataConfig.model_fields['split'].default}"]:
        raise DataError(
            f"Expected all rows of the file {config.path} to be meant, found `{', '.join(of_hub)}`, which only a data "
            "set on the Hub has. Leave that out, or name the file of that part."
        )


def is_skipped(config: DataConfig, row: Mapping[str, Any]) -> bool:
    """Whether the configuration leaves this row out."""
    return any(_has(row, name, value) for name, value in config.skip.items())


def replaced(rows: Sequence[Example], others: Sequence[Example], share: float, seed: int) -> Sequence[Example]:
    """The rows with a share of them replaced by other rows, each of which serves once before one serves twice."""
    rng, count = random.Random(seed), round(share * len(rows))
    drawn = repeated(others, count, rng)
    places = array("q", range(len(rows)))
    for number, place in enumerate(rng.sample(range(len(rows)), count)):
        places[place] = len(rows) + number
    return Drawn([rows, drawn], places)


def _hub_rows(config: DataConfig) -> Iterator[FileRow]:
    from datasets import load_dataset

    try:
        dataset = load_dataset(config.path, split=config.split, revision=config.revision)
    except Exception as error:  # the Hub client raises many kinds
        raise DataError(
            f"Expected a data set called {config.path!r} on the Hub, found: {str(error).splitlines()[0].rstrip('.')}. "
            "Check the name, the split and the network, or give a JSONL file."
        ) from error
    for number, row in enumerate(dataset, 1):
        yield FileRow(number=number, where=f"{config.path} row {number}", fields=dict(row))


class _Reading:
    """One pass over a source."""

    def __init__(self, config: DataConfig) -> None:
        self.read = 0
        self._config, self._first_fields = config, list[str]()
        self._absent = dict.fromkeys(config.skip)
        """Fields of `skip` that no row has had so far."""

    def examples(self) -> Iterator[Example]:
        """The rows that `skip` leaves, converted."""
        rows = self._seen(source_rows(self._config))
        for row in rows:
            if is_skipped(self._config, row.fields):
                continue
            try:
                example = _convert(row)
            except DataError:
                while self._absent and next(rows, None) is not None:  # a wrong name in `skip` may have let it in
                    pass
                self._check_skip()
                raise
            yield example
        self._check_skip()

    def _seen(self, rows: Iterator[FileRow]) -> Iterator[FileRow]:
        for row in rows:
            self._first_fields = self._first_fields or sorted(row.fields)
            for name in [name for name in self._absent if name in row.fields]:
                del self._absent[name]
            self.read += 1
            yield row

    def _check_skip(self) -> None:
        if self._absent:
            raise DataError(
                f"Expected the field {next(iter(self._absent))!r} of `skip` in the rows of {self._config.path}, found "
                f"fields {self._first_fields}. Correct the name in `skip`."
            )


def _has(row: Mapping[str, Any], name: str, value: object) -> bool:
    """Whether a field has a value; a table knows values as texts only."""
    stored = row.get(name)
    if isinstance(stored, str) and not isinstance(value, str):
        return stored.strip().casefold() == str(value).casefold()
    return bool(stored == value)


def _convert(row: FileRow) -> Example:
    try:
        fields = filled(row.fields)
        turns = next((name for name in CONVERSATIONS if isinstance(fields.get(name), list)), None)
        pair = next((pair for pair in _PAIRS if all(name in fields for name in pair)), None)
        if turns is not None:
            return _from_turns(fields, turns)
        if pair is not None:
            return _from_pair(fields, *pair)
    except UnusableRow as error:
        raise DataError(
            f"Expected a row to tune on in {row.where}, found fields {summary(row.fields)} {error.reason}. "
            f"{error.advice}."
        ) from error
    raise DataError(
        f"Expected one of the formats {_FORMATS} with non-empty text in {row.where}, found fields "
        f"{summary(row.fields)}. Rename the fields or correct that row."
    )


def _from_turns(fields: Mapping[str, Any], name: str) -> Example:
    messages = messages_of(fields[name])
    used = [name]
    if messages[0]["role"] != "system":
        used += [field for field in SYSTEM if field in fields][:1]
        messages = [*_system(fields), *messages]
    return _checked(fields, used, messages[:-1], messages[-1:])


def _from_pair(fields: Mapping[str, Any], asks: str, answers: str) -> Example:
    request, answer = fields[asks], fields[answers]
    used = [asks, answers, *[field for field in SYSTEM if field in fields][:1]]
    if isinstance(request, list) and isinstance(answer, list):
        prompt, completion = messages_of(request), messages_of(answer)
        if prompt[0]["role"] == "system":
            used = used[:2]
        else:
            prompt = [*_system(fields), *prompt]
        return _checked(fields, used, prompt, completion)
    for field in (asks, answers):
        if not (isinstance(fields[field], str) and says_something(fields[field])):
            raise UnusableRow(f"without text in `{field}`", "Give it a text, or leave out that row")
    if (asks, answers) == ("question", "answer") and _GSM8K_END.search(answer):
        answer = _GSM8K_MARK.sub("", answer)
    extras = [field for field in EXTRAS if field in fields and field != asks]
    text = asked(fields, asks)
    text = text.strip() if asks == "instruction" else text
    prompt = [*_system(fields), *_history(fields), {"role": "user", "content": text}]
    used += [*extras, "history"]
    return _checked(fields, used, prompt, [{"role": "assistant", "content": answer}])


def _checked(
    fields: Mapping[str, Any], used: Sequence[str], prompt: list[Message], completion: list[Message]
) -> Example:
    """The row, where it is an answer to a user and nothing is left out."""
    roles = [message["role"] for message in (*prompt, *completion)]
    if roles[-2:] != ["user", "assistant"] or len(completion) != 1:
        raise UnusableRow(
            f"with turns of {', '.join(roles)}", "End the row with one turn of the user and one of the assistant"
        )
    read = [message["content"] for message in (*prompt, *completion)]
    as_written = [fields[name] for name in used if isinstance(fields.get(name), str)]
    check_used(fields, used, [*read, *as_written])
    return {"prompt": prompt, "completion": completion}


def _system(fields: Mapping[str, Any]) -> list[Message]:
    name = next((name for name in SYSTEM if name in fields), None)
    if name is None:
        return []
    if not isinstance(fields[name], str) or not fields[name].strip():
        raise UnusableRow(f"without text in `{name}`", "Give it a text, or take it out")
    return [{"role": "system", "content": fields[name]}]


def _history(fields: Mapping[str, Any]) -> list[Message]:
    """The turns before the request, given as pairs of what the user and the assistant said."""
    history = fields.get("history", [])
    is_pairs = isinstance(history, list) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(t, str) and t.strip() for t in pair)
        for pair in history
    )
    if not is_pairs:
        raise UnusableRow("whose `history` is no list of [user, assistant] texts", "Write it so, or use `messages`")
    roles = ("user", "assistant")
    return [{"role": role, "content": text} for pair in history for role, text in zip(roles, pair, strict=True)]
