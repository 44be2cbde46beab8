"""Examples: from the user's rows, in whichever format, to prompt and answer.

Formats are told by their fields: a conversation (``messages``, ``conversations``), a pair of a request and an answer
(``instruction`` with ``output``, ``prompt`` with ``completion``, ``question`` with ``answer`` and others), ``prompt``
and ``completion`` as lists of messages, or a ``text`` with the marks of a chat template. A pair may have an ``input``
or ``context``, a ``system`` prompt and a ``history`` of turns. All become TRL's conversational prompt-completion rows,
so the loss is on the answer only: a conversation becomes a row for every answer in it, each after all that was said
before it, so that the tokens that are trained are those of TRL's `assistant_only_loss`. A known field is used, or its
row is refused.
"""

import json
import os
import random
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from securetune.base.places import expanded, is_here, looks_local
from securetune.data.config import DataConfig, TrainedTurns
from securetune.data.conversations import (
    Message,
    Turn,
    UnusableRow,
    says_something,
    trained_turns,
    turns_of,
)
from securetune.data.drawn import Drawn
from securetune.data.fields import CONVERSATIONS, EXTRAS, SYSTEM, asked, check_used, filled, summary, unread
from securetune.data.folders import folder_rows
from securetune.data.prompts import Example, repeated
from securetune.data.rows import FileRow, read_rows
from securetune.data.stored import store
from securetune.data.written import written_turns
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
_FORMATS = [*CONVERSATIONS, *(" + ".join(pair) for pair in _PAIRS), "text"]
_NO_SYSTEM = "have an empty system turn, which is read as none"
_SKIP = "set `unusable: skip` where their path stands (such as `-s task.train.unusable=skip`)"
_WRITTEN = "are texts whose turns were found by their marks, which the model's own template writes anew"
_GREETS = "begin with a turn of the assistant, which answers nobody: it is read, and not trained"
_UNANSWERED = "end with a turn that nobody answers, which is left out"
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
    """Left out by `skip`, or as they cannot be used."""
    notes: Sequence[str] = ()
    """What to know of how they were read."""


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
        used, starts = reading.used, reading.starts
        drawn = random.Random(seed).sample(range(used), min(count, used))
        places = chain.from_iterable(range(*starts[number : number + 2]) for number in drawn)
        rows = Drawn([examples], islice(places, count))
    return SourceRows(rows=rows, read=reading.read, skipped=reading.read - reading.used, notes=reading.notes())


def parted(rows: Sequence[Example], count: int) -> tuple[Sequence[Example], Sequence[Example]]:
    """The first rows and the others; all answers of one conversation lie on one side, so there may be some more."""
    while 0 < count < len(rows) and _goes_on(rows[count - 1], rows[count]):
        count += 1
    return rows[:count], rows[count:]


def _goes_on(row: Example, following: Example) -> bool:
    turns = [*row["prompt"], *row["completion"]]
    return following["prompt"][: len(turns)] == turns


def source_rows(config: DataConfig) -> Iterator[FileRow]:
    """Every row of a source, as it stands there.

    Raises:
        DataError: unreadable source.
    """
    if config.path and os.path.isdir(expanded(config.path)):
        return folder_rows(config.path, config.split)
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
        self.starts = array("q", [0])
        """At which example each row begins that is used, and at last where the last one ends."""
        self._several, self._told, self._unread = 0, Counter[str](), dict[str, None]()
        self._unusable = 0
        self._fault: DataError | None = None
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
                converted = _convert(row, self._config.trained_turns)
            except DataError as error:
                if self._config.unusable == "skip":
                    self._unusable, self._fault = self._unusable + 1, self._fault or error
                    continue
                while self._absent and next(rows, None) is not None:  # a wrong name in `skip` may have let it in
                    pass
                self._check_skip()
                raise DataError(f"{error} To leave such rows out, and have them counted, {_SKIP}.") from error
            self.starts.append(self.starts[-1] + len(converted.examples))
            self._several += len(converted.examples) > 1
            self._told.update(converted.told)
            self._unread |= dict.fromkeys(converted.unread)
            yield from converted.examples
        self._check_skip()
        if self._fault is not None and not self.used:
            raise self._fault

    @property
    def used(self) -> int:
        """Rows that `skip` leaves and that can be used."""
        return len(self.starts) - 1

    def notes(self) -> list[str]:
        """What to know of how the rows were read."""
        source, rows = self._config.path, self.used
        notes = [f"{times:,} of {rows:,} rows of {source} {what}." for what, times in self._told.items()]
        if self._fault is not None:
            notes.append(
                f"{self._unusable:,} of {self.read:,} rows of {source} cannot be used and are left out; the first: "
                f"{self._fault}"
            )
        if self._several:
            notes.append(
                f"{self._several:,} of {rows:,} rows of {source} have several answers, each of which is trained after "
                f"what was said before it: {self.starts[-1]:,} answers in all (`trained_turns: last` trains the last "
                "ones only)."
            )
        if self._unread:
            names = ", ".join(f"`{name}`" for name in sorted(self._unread))
            notes.append(f"Not read of the rows of {source}: {names}.")
        return notes

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


@dataclass(frozen=True, kw_only=True)
class _Converted:
    """What became of a row."""

    examples: list[Example]
    """One for each answer that is trained."""
    unread: Sequence[str]
    """Its fields that no format has."""
    told: Sequence[str] = ()
    """What a count of such rows says of them."""


def _convert(row: FileRow, which: TrainedTurns) -> _Converted:
    try:
        fields = _with_lists(filled(row.fields))
        turns = next((name for name in CONVERSATIONS if isinstance(fields.get(name), list)), None)
        pair = next((pair for pair in _PAIRS if all(name in fields for name in pair)), None)
        if turns is not None:
            return _from_turns(fields, turns, which)
        if pair is not None:
            return _from_pair(fields, *pair, which)
        if isinstance(text := fields.get("text"), str):
            return _from_turns({**fields, "text": written_turns(text)}, "text", which, [_WRITTEN])
    except UnusableRow as error:
        raise DataError(
            f"Expected a row to tune on in {row.where}, found fields {summary(row.fields)} {error.reason}. "
            f"{error.advice}."
        ) from error
    raise DataError(
        f"Expected one of the formats {_FORMATS} with non-empty text in {row.where}, found fields "
        f"{summary(row.fields)}. Rename the fields or correct that row."
    )


def _with_lists(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, with a conversation that a table holds as JSON text read as such.

    Raises:
        UnusableRow: it is no JSON list.
    """
    for name in CONVERSATIONS:
        text = fields.get(name)
        if isinstance(text, str) and text.lstrip().startswith("["):
            try:
                fields[name] = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise UnusableRow(
                    f"with a text in `{name}` that is no JSON list",
                    "Write the turns as JSON (`json.dumps`), not as Python shows a list",
                ) from error
    return fields


def _from_turns(fields: Mapping[str, Any], name: str, which: TrainedTurns, told: Sequence[str] = ()) -> _Converted:
    turns, used = turns_of(fields[name]), [name]
    told = [*told, *([_NO_SYSTEM] if len(turns) < len(fields[name]) else [])]
    if not turns or turns[0].role != "system":
        used += [field for field in SYSTEM if field in fields][:1]
        turns = [*(Turn(message=message, is_trained=None) for message in _system(fields)), *turns]
    return _of_turns(fields, used, turns, which, told)


def _of_turns(
    fields: Mapping[str, Any], used: Sequence[str], turns: list[Turn], which: TrainedTurns, told: list[str]
) -> _Converted:
    """An example for every answer that is trained."""
    places = trained_turns(turns, which)
    messages = [turn.message for turn in turns]
    _check_all_used(fields, used, messages)
    speakers = [turn.role for turn in turns if turn.role != "system"]
    told += [_GREETS] * (speakers[0] == "assistant") + [_UNANSWERED] * (speakers[-1] != "assistant")
    examples: list[Example] = [{"prompt": messages[:place], "completion": [messages[place]]} for place in places]
    return _Converted(examples=examples, unread=unread(fields, used), told=told)


def _from_pair(fields: Mapping[str, Any], asks: str, answers: str, which: TrainedTurns) -> _Converted:
    request, answer = fields[asks], fields[answers]
    used = [asks, answers, *[field for field in SYSTEM if field in fields][:1]]
    if isinstance(request, list) and isinstance(answer, list):
        prompt, completion = turns_of(request), turns_of(answer)
        if prompt and prompt[0].role == "system":
            used = used[:2]
        else:
            prompt = [*(Turn(message=message, is_trained=None) for message in _system(fields)), *prompt]
        return _of_lists(fields, used, prompt, completion)
    for field in (asks, answers):
        if not (isinstance(fields[field], str) and says_something(fields[field])):
            raise UnusableRow(f"without text in `{field}`", "Give it a text, or leave out that row")
    if (asks, answers) == ("question", "answer") and _GSM8K_END.search(answer):
        answer = _GSM8K_MARK.sub("", answer)
    extras = [field for field in EXTRAS if field in fields and field != asks]
    text = asked(fields, asks)
    text = text.strip() if asks == "instruction" else text
    messages = [
        *_system(fields),
        *_history(fields),
        {"role": "user", "content": text},
        {"role": "assistant", "content": answer},
    ]
    turns = [Turn(message=message, is_trained=None) for message in messages]
    return _of_turns(fields, [*used, *extras, "history"], turns, which, [])


def _of_lists(fields: Mapping[str, Any], used: Sequence[str], prompt: list[Turn], completion: list[Turn]) -> _Converted:
    """TRL's form: what is trained is the completion, whoever speaks in the prompt."""
    roles = [turn.role for turn in (*prompt, *completion)]
    if len(completion) != 1:
        raise UnusableRow(f"with turns of {', '.join(roles)}", "Give one turn of the assistant as the completion")
    return _of_turns(fields, used, [*prompt, *completion], "last", [])


def _check_all_used(fields: Mapping[str, Any], used: Sequence[str], messages: Sequence[Message]) -> None:
    """Make sure that nothing is left out."""
    as_written = [fields[name] for name in used if isinstance(fields.get(name), str)]
    check_used(fields, used, [*(message["content"] for message in messages), *as_written])


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
