"""Texts: how is a file that somebody else wrote read, so that nothing in it can crash, hang or fill the memory?

One function per form. All refuse what cannot be meant: a file that is too large or no file, text that is not UTF-8,
a key that stands twice, aliases that grow, nesting without end, and characters that no text has.
"""

import json
import math
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from securetune.errors import SecuretuneError

LARGEST = 50 << 20
"""Bytes of the largest file that is read whole."""
LARGEST_YAML = 128 << 10
"""Bytes of the largest YAML text, some hundred times a configuration: it is read at 100 KiB a second."""
_DEEPEST = 60
_LARGEST_NUMBER = 2**63
_MOST = 100_000
"""Values that a text may hold once its aliases are filled in."""


def read_text(
    path: str | Path,
    expected: str,
    error: type[SecuretuneError],
    *,
    source: str | None = None,
    largest: int = LARGEST,
) -> str:
    """The text of a file, without its byte-order mark.

    Args:
        path: where it lies.
        expected: what it should be, for the message: ``a plan file``.
        error: what is raised.
        source: how the message names the place; by default the path.
        largest: bytes it may have.

    Raises:
        SecuretuneError: of the kind `error`: no such file, a folder or a device, too large, or not UTF-8.
    """
    source = source or str(path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
            raise error(f"Expected {expected} at {source}, found {kind}. Give a file.")
        if status.st_size > largest:
            raise error(
                f"Expected {expected} of at most {largest >> 10:,} KiB at {source}, found {status.st_size >> 10:,} "
                "KiB. Check that this is the file you mean."
            )
        with open(path, "rb", opener=without_waiting) as file:
            return (file.read() or b"").decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(
            f"Expected {expected} as UTF-8 text at {source}, found other bytes at position {cause.start}. "
            "Save the file as UTF-8."
        ) from cause
    except (OSError, ValueError) as cause:  # a path with a zero byte is a ValueError
        reason = getattr(cause, "strerror", None) or str(cause)
        raise error(f"Expected {expected} at {source}, found none ({reason}). Check the path.") from cause


def read_object(path: str | Path, error: type[SecuretuneError]) -> dict[str, Any]:
    """The object in a JSON file of a model.

    Raises:
        SecuretuneError: of the kind `error`: no such file, or something else in it.
    """
    try:
        value = json.loads(read_text(path, "a JSON file", error))
    except (ValueError, RecursionError) as cause:
        raise error(f"Expected JSON in {path}, found: {cause}. Copy the file again.") from cause
    if not isinstance(value, dict):
        raise error(f"Expected a JSON object in {path}, found {type(value).__name__}. Copy the file again.")
    return value


def without_waiting(path: str, flags: int) -> int:
    """Open a file such that a read never waits: some of a system's own call themselves regular, and block."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def parse_json(text: str, source: str, error: type[SecuretuneError]) -> Any:
    """The value of a JSON text; `source` says in a message where it stands.

    Raises:
        SecuretuneError: of the kind `error`: not JSON, or something in it that no text should have.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
        _check_values(value)
    except (ValueError, RecursionError) as cause:
        raise error(f"Expected JSON in {source}, found: {_reason(cause)}. Correct it.") from cause
    return value


def parse_yaml(text: str, source: str, error: type[SecuretuneError]) -> Any:
    """The value of a YAML text, where a date is a text; `source` says in a message where it stands.

    Raises:
        SecuretuneError: of the kind `error`: not YAML, or something in it that no text should have.
    """
    try:
        if len(text.encode()) > LARGEST_YAML:
            raise ValueError(f"{len(text) >> 10:,} KiB, more than {LARGEST_YAML >> 10:,}")
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            _check_node(node, {}, 0)
            value = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
        _check_values(value)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as cause:
        raise error(f"Expected YAML in {source}, found: {_reason(cause)}. Correct it.") from cause
    return value


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without dates: what looks like one is a text, as its writer sees it."""

    yaml_implicit_resolvers = {  # noqa: RUF012  as PyYAML has it
        first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node, unless it lies too deep: PyYAML's time grows with the square of the depth."""
        if self._depth > _DEEPEST:
            raise ValueError(f"nesting deeper than {_DEEPEST}")
        self._depth += 1
        node = super().compose_node(parent, index)  # type: ignore[no-untyped-call]
        self._depth -= 1
        return node


def _check_node(node: Any, sizes: dict[int, int], depth: int) -> int:
    """How many values a node holds, once its aliases are filled in; every node is looked at once."""
    if depth > _DEEPEST:
        raise ValueError(f"nesting deeper than {_DEEPEST}")
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in sizes:
        sizes[id(node)] = _MOST + 1  # what a node that holds itself comes to
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            parts = [part for pair in node.value for part in pair]
        sizes[id(node)] = 1 + sum(_check_node(part, sizes, depth + 1) for part in parts)
    if sizes[id(node)] > _MOST:
        raise ValueError(f"aliases that stand for more than {_MOST:,} values")
    return sizes[id(node)]


def _check_keys(node: "yaml.MappingNode") -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            name = (key.tag, key.value)
            if name in seen:
                raise ValueError(f"{key.value!r} twice in one mapping, again in line {key.start_mark.line + 1}")
            seen.add(name)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    again = next((key for i, key in enumerate(keys) if key in keys[:i]), None) if len(set(keys)) < len(keys) else None
    if again is not None:
        raise ValueError(f"{again!r} twice in one object")
    return dict(pairs)


def _check_values(value: object) -> None:
    """Refuse what passes every parser and breaks what comes after it."""
    layer: Iterable[object] = [value]
    depth = 0
    while layer := list(layer):
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"nesting deeper than {_DEEPEST}")
        for item in layer:
            _check_scalar(item)
        layer = [part for item in layer for part in _parts(item)]


def _parts(value: object) -> list[object]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, list | tuple | set) else []


def _check_scalar(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"the number {value}, which is not finite")
    if isinstance(value, int) and abs(value) >= _LARGEST_NUMBER:
        raise ValueError(f"a number of {len(str(abs(value)))} digits, which is larger than any that is meant here")
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError(f"a zero byte in {value[:40]!r}")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"half a character (a lone surrogate) in {value[:40]!r}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nesting without end"
    if isinstance(error, TypeError | AttributeError):
        return "a value of another form than its tag says"
    return " ".join(str(error).split()).rstrip(".")
