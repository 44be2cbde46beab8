"""How many rows fit in memory, and is a step still made of as many rows?"""

import pytest
import torch

from securetune.config import parse_config
from securetune.doors import timing
from securetune.errors import MachineError
from tests.conftest import settings


@pytest.fixture
def config(model_folder, data_folder, tmp_path):
    raw = settings(model_folder, data_folder, tmp_path / "run")
    return parse_config(raw | {"train": {**raw["train"], "batch_size": 8}}, "it")


def test_a_few_steps_are_timed(config):
    found = timing.pace(config)
    assert (found.batch_size, found.gradient_accumulation) == (8, 1) and found.step_seconds > 0


def full_above(rows, taken):
    def steps(config, train):
        taken.append(train)
        if train.batch_size > rows:
            raise torch.OutOfMemoryError
        return 1.5

    return steps


def test_smaller_batches_keep_the_rows_of_a_step(config, monkeypatch):
    monkeypatch.setattr(timing, "_seconds", full_above(2, taken := []))
    found = timing.pace(config)
    assert (found.batch_size, found.gradient_accumulation, found.step_seconds) == (2, 4, 1.5)
    assert [train.batch_size for train in taken] == [8, 4, 2]


def test_no_room_for_one_row_is_said(config, monkeypatch):
    monkeypatch.setattr(timing, "_seconds", full_above(0, []))
    with pytest.raises(MachineError, match="room for one row of 128 tokens.*Lower train.max_length"):
        timing.pace(config)
