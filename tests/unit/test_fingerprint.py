"""Fingerprints: content counts, not the text of a path; and what cannot be told is refused."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from securetune.base.fingerprint import FilePath, PluginSettings, fingerprint, plugin_fingerprint
from securetune.config import RunConfig
from securetune.defences import DEFENCES
from securetune.errors import ModelError
from securetune.evaluate.attacks import ATTACKS
from securetune.evaluate.judges import JUDGES
from securetune.models.config import ModelConfig
from securetune.train.config import UNCOUNTED, TrainConfig


class Named(BaseModel):
    """Names files in every way a configuration can."""

    plain: FilePath | None = None
    several: tuple[FilePath, ...] = ()
    by_name: dict[str, FilePath] = {}
    depth: int = 1


@pytest.mark.parametrize(
    "name",
    [lambda f: {"plain": f}, lambda f: {"several": (f,)}, lambda f: {"by_name": {"x": f}}],
    ids=["plain", "several", "by name"],
)
def test_a_file_counts_by_its_content_and_not_by_its_name(name, tmp_path):
    file, copy = tmp_path / "a.txt", tmp_path / "b.txt"
    file.write_text("one")
    copy.write_text("one")
    before = fingerprint(Named(**name(str(file))))
    assert fingerprint(Named(**name(str(file)))) == before
    file.write_text("two")
    assert fingerprint(Named(**name(str(file)))) != before
    assert fingerprint(Named(**name(str(file)), depth=2)) != fingerprint(Named(**name(str(file))))


def test_what_is_no_file_counts_by_its_text():
    assert fingerprint(Named(plain="tatsu-lab/alpaca")) != fingerprint(Named(plain="tatsu-lab/alpaca2"))
    assert fingerprint(Named()) != fingerprint(Named(plain="x"))


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class Holder(BaseModel):
    settings: PluginSettings = {}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Path("x"), "Mark a path"),
        (object(), "plain values"),
        (Loose(path="x.txt"), "only the plug-in knows"),
        (Holder(settings={"template": {"path": "x.txt"}}), "told by its plug-ins"),
    ],
)
def test_what_has_no_content_to_hash_is_refused(value, why):
    with pytest.raises(TypeError, match=why):
        fingerprint(value)
    assert fingerprint(Holder(settings={"a": {}}), without=["settings"])


def test_a_models_folder_counts_by_its_files_and_a_missing_one_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("weights")
    config = ModelConfig(path=str(tmp_path))
    before = fingerprint(config)
    os.utime(tmp_path / "model.safetensors", ns=(1, 1))
    assert fingerprint(config) != before
    assert fingerprint(config.model_copy(update={"dtype": "bfloat16"})) != fingerprint(config)
    with pytest.raises(ModelError, match="found nothing there"):
        fingerprint(ModelConfig(path=str(tmp_path / "absent")))


def fields_of(kind: Any, seen: set) -> list[tuple[type, str]]:
    """Every field of a configuration class and of those below it."""
    if kind in seen:
        return []
    seen.add(kind)
    found = []
    for name, field in kind.model_fields.items():
        found.append((kind, name))
        todo = [field.annotation]
        while todo:
            part = todo.pop()
            todo += getattr(part, "__args__", ())
            if isinstance(part, type) and issubclass(part, BaseModel):
                found += fields_of(part, seen)
    return found


SETTINGS = [registry.get(name).Settings for registry in (ATTACKS, JUDGES, DEFENCES) for name in registry.names()]
NAMES_NO_INPUT = {("RunConfig", "output")}


def test_every_field_that_is_a_path_is_marked_as_one():
    seen: set = set()
    fields = [field for kind in (RunConfig, *SETTINGS) for field in fields_of(kind, seen)]
    paths = [
        (kind, name) for kind, name in fields if any(word in name for word in ("path", "file", "output", "folder"))
    ]
    assert len(paths) > 8
    for kind, name in paths:
        if (kind.__name__, name) not in NAMES_NO_INPUT:
            marks = str(kind.model_fields[name].metadata) + str(kind.model_fields[name].annotation)
            assert "Content" in marks, f"{kind.__name__}.{name} names a file, and counts by its text"


def test_trackers_leave_the_fingerprint_of_a_training_as_it_was_before_there_were_any():
    for settings, before in (({}, "06d6c62026e0ea25"), ({"lora_rank": 4}, "b00bda84c7a6fa2d")):
        for trackers in ((), ("tensorboard",)):
            config = TrainConfig(**settings, report_to=trackers)
            assert fingerprint(config, without=UNCOUNTED) == before


def test_a_plugin_of_the_users_own_counts_with_its_code(tmp_path, monkeypatch):
    file = tmp_path / "mine_own.py"
    file.write_text("class Mine:\n    def __init__(self):\n        self.settings = None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import mine_own

    before = plugin_fingerprint(mine_own.Mine())
    file.write_text(file.read_text() + "# changed\n")
    assert plugin_fingerprint(mine_own.Mine()) != before
