"""Init: what would a configuration for this model and these rows look like, with a word on every field?"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml
from pydantic import BaseModel

from securetune.base.documented import field_docs, first_sentence
from securetune.base.files import check_new_file, write_atomic
from securetune.base.problems import section_of
from securetune.config import RunConfig
from securetune.doors.tune import Request, usable_settings
from securetune.train.config import TrainConfig

_WIDTH = 118


def write_start(request: Request, file: Path) -> None:
    """Write the configuration that `tune` would run, with every field of the training, to be changed by hand.

    Raises:
        SecuretuneError: there is something at `file`, or the model or the rows cannot be used.
    """
    check_new_file(file)
    settings = usable_settings(request)
    train = TrainConfig.model_validate(settings["train"])
    write_atomic(file, commented(settings | {"train": train.model_dump(mode="json")}, file))


def commented(settings: Mapping[str, Any], file: Path) -> str:
    """The settings of a run as YAML, above each field the first sentence of its documentation."""
    head = (
        f"# securetune run {file}",
        f"# Everything that stands here can be changed. All other fields: securetune config {file}",
    )
    return "\n".join((*head, *_lines(RunConfig, settings, ""))) + "\n"


def _lines(kind: type[BaseModel], settings: Mapping[str, Any], indent: str) -> Iterator[str]:
    docs = field_docs(kind)
    for name, value in settings.items():
        section = section_of(kind.model_fields[name].annotation)
        text = docs.get(name) or (section.__doc__ if section else None)
        if not indent:
            yield ""
        if text:
            yield from wrap(first_sentence(text), _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        if section is not None and isinstance(value, Mapping):
            yield f"{indent}{name}:"
            yield from _lines(section, value, f"{indent}  ")
        else:
            yield f"{indent}{name}: {_on_one_line(value)}"


def _on_one_line(value: object) -> str:
    """A value as YAML writes it, line breaks in a text spelt out."""
    for style in (None, '"'):
        text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=True, default_style=style, width=10**6)
        line = text.removesuffix("...\n").rstrip("\n")  # a bare value is followed by an end of the document
        if "\n" not in line:
            break
    return line
