"""Problems: what is to be said of a configuration that does not fit its class, besides what pydantic says?"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from securetune.base.near import near_name


def near_field(kind: type[BaseModel], error: ErrorDetails) -> str:
    """The field that an unknown one may have been meant to be, as a question; or nothing."""
    if error["type"] != "extra_forbidden":
        return ""
    *way, name = error["loc"]
    section: type[BaseModel] | None = kind
    for part in way:  # a number of a list or a key of a mapping leads to no other class
        if section is not None and part in section.model_fields:
            section = section_of(section.model_fields[str(part)].annotation)
    near = near_name(str(name), section.model_fields if section else ())
    return "" if near is None else f" (did you mean {near!r}?)"


def misread(raw: Any, read: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Where true or false was taken for 1 or 0, and which of them stands there."""
    if isinstance(raw, bool) and isinstance(read, int | float) and not isinstance(read, bool):
        yield place, str(raw).lower()
    parts: Iterable[tuple[Any, Any, Any]] = ()
    if isinstance(raw, Mapping) and isinstance(read, Mapping):
        parts = [(key, part, read[key]) for key, part in raw.items() if key in read]
    elif isinstance(raw, list | tuple) and isinstance(read, list | tuple):
        parts = zip(range(len(raw)), raw, read, strict=False)
    for key, part, made in parts:
        yield from misread(part, made, f"{place}.{key}" if place else str(key))


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The configuration class that a field holds, alone, in a list or beside None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((section for part in get_args(annotation) if (section := section_of(part))), None)
