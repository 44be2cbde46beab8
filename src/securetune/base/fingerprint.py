"""Fingerprint: has anything changed that a result depends on?

One function covers whatever a configuration names. A field that names a file or a model says so in its type
(`FilePath`, `models.config.ModelPath`) and counts by what lies there. A bare `Path` is refused, so that no path is
hashed as a text by mistake, and so are settings of plug-ins (`PluginSettings`), which only the plug-ins can tell.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from securetune.base.artifacts import digest, digest_path
from securetune.base.outside import source_digest
from securetune.base.places import expanded, is_here


class Content:
    """Marks a text that names a file or folder: it counts by its content."""

    def of(self, path: str, owner: BaseModel) -> object:
        """What is hashed in place of the text; what is no local file (an id on the Hub) is told by its text alone.

        Args:
            path: the text.
            owner: the settings in which it stands.
        """
        del owner
        return digest_path(expanded(path)) if is_here(path) else path


class OfPlugins:
    """Marks settings of plug-ins: which of their values name files, only the plug-ins know."""


FilePath = Annotated[str, Content()]
"""A file or folder of the user's, or an id on the Hub."""

PluginSettings = Annotated[dict[str, dict[str, Any]], OfPlugins()]
"""Settings by the name of a plug-in."""


def fingerprint(value: object, *, without: Sequence[str] = ()) -> str:
    """Hash of a value with the content of every file it names.

    Args:
        value: plain values, configurations, dataclasses, whatever has a method ``fingerprint()``, and any of these in
            mappings and lists.
        without: names of fields of `value` that do not count.

    Raises:
        TypeError: a bare path, settings of plug-ins, or something else that has no content to hash.
    """
    if isinstance(value, BaseModel):
        return digest(_configuration(value, without))
    return digest(_plain(value))


def plugin_fingerprint(plugin: Any, *, without: Sequence[str] = ()) -> str:
    """Hash of a plug-in with its `settings`, and of the file it stands in where that is not ours.

    Args:
        plugin: an instance.
        without: names of settings that do not count.
    """
    kind = type(plugin)
    is_ours = kind.__module__.startswith("securetune.")
    identity = [kind.__module__, kind.__qualname__] if is_ours else [kind.__qualname__, source_digest(kind)]
    return digest([*identity, _configuration(plugin.settings, without) if without else _plain(plugin.settings)])


def _plain(value: object) -> object:
    """The value as JSON values that tell its content."""
    if value is None or isinstance(value, str | int | float):
        return value
    if not isinstance(value, type) and callable(own := getattr(value, "fingerprint", None)):
        return own()
    if isinstance(value, BaseModel):
        return _configuration(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, AbstractSet):
        return sorted(str(_plain(item)) for item in value)
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    raise TypeError(
        f"Expected plain values, configurations or something with a fingerprint, found {type(value).__name__}. Mark a "
        "path as FilePath in the configuration that holds it, or give the object a fingerprint()."
    )


def _configuration(config: BaseModel, without: Sequence[str] = ()) -> dict[str, object]:
    if config.model_extra:
        raise TypeError(
            f"Expected settings with known fields, found {sorted(config.model_extra)} in {type(config).__name__}: "
            "whether they name files, only the plug-in knows. Ask what was made of them for its fingerprint."
        )
    known = type(config).model_fields
    return {name: _field(config, name, field) for name, field in known.items() if name not in without}


def _field(config: BaseModel, name: str, field: FieldInfo) -> object:
    value, marks = getattr(config, name), list(_marks(field))
    if value and any(isinstance(mark, OfPlugins) for mark in marks):
        raise TypeError(
            f"Expected {type(config).__name__}.{name} to be told by its plug-ins, found it among what is hashed. Leave "
            "it out with `without`, and hash the plug-ins."
        )
    content = next((mark for mark in marks if isinstance(mark, Content)), None)
    return _plain(value) if content is None else _content(value, content, config)


def _content(value: object, content: Content, owner: BaseModel) -> object:
    """The content of every text in a value whose type is marked."""
    if isinstance(value, str):
        return content.of(value, owner)
    if isinstance(value, Mapping):
        return {str(key): _content(item, content, owner) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_content(item, content, owner) for item in value]
    return _plain(value)


def _marks(annotated: Any) -> list[object]:
    """What a field's type, or any part of it, is annotated with."""
    own = annotated.metadata if isinstance(annotated, FieldInfo) else getattr(annotated, "__metadata__", ())
    inner = annotated.annotation if isinstance(annotated, FieldInfo) else annotated
    return [*own, *(mark for part in get_args(inner) for mark in _marks(part))]
