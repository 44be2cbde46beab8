"""What the machine refuses, and overrides that cannot be set, are one clear line."""

import pytest

from securetune.base.artifacts import write_atomic
from securetune.config import override, parsed_override
from securetune.errors import ConfigError, MachineError


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(MachineError, match="Expected a folder at .*absent for out.json, found none. Make it first"):
        write_atomic(tmp_path / "absent" / "out.json", "{}")


@pytest.mark.parametrize("section", ["text", [1]])
def test_an_override_below_what_has_no_fields_is_refused(section):
    with pytest.raises(ConfigError, match="Expected `model` to have fields"):
        override({"model": section}, "model.path", "x")


def test_an_override_below_a_section_left_empty_fills_it():
    raw = {"train": None}
    override(raw, "train.steps", 5)
    assert raw == {"train": {"steps": 5}}


@pytest.mark.parametrize("text", ["train", "=5", "a..b=1", "arms=[none", "a={"])
def test_an_override_of_another_form_is_refused(text):
    with pytest.raises(ConfigError, match="--set"):
        parsed_override(text)
