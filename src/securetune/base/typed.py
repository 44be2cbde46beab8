"""Typed: results are named types at both ends, when they are written as JSON and when they are read again."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from securetune.errors import ArtifactError

T = TypeVar("T")

_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def to_json(value: object) -> Any:
    """A dataclass (or anything made of them) as plain JSON values."""
    return _adapter(type(value)).dump_python(value, mode="json")


def from_json(kind: type[T], data: object, where: str) -> T:
    """The inverse of `to_json`.

    Raises:
        ArtifactError: the data have not that form; `where` says where they stand.
    """
    try:
        value: T = _adapter(kind).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the top"
        raise ArtifactError(
            f"Expected {kind.__name__} in {where}, found a problem at {place}: {first['msg']}. Another version of "
            "securetune wrote it, or somebody changed it: delete it to have it made again."
        ) from error
    return value
