"""Trackers see every training of a run, and nothing that a run finds depends on them."""

import os

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from securetune.config import parse_config
from securetune.flow.pipeline import run
from tests.conftest import settings
from tests.faults import results


@pytest.fixture(scope="module")
def trained(model_folder, data_folder, tmp_path_factory):
    """Runs until the training, and which artifacts were stored already."""

    def train(name, trackers):
        folder = tmp_path_factory.getbasetemp() / "trackers" / name
        raw = settings(model_folder, data_folder, folder) | {"arms": ["ml_lr"]}
        raw["scan"] = raw["scan"] | {"perturbation": "tuned", "tuning_steps": 2, "strength": 1.0}
        raw["train"] = raw["train"] | {"report_to": trackers}
        stored = []
        run(parse_config(raw, "it"), until="train", announce=lambda _, is_stored: stored.append(is_stored))
        return folder, stored

    return train


def test_losses_reach_tensorboard_and_the_results_are_the_same(trained, monkeypatch):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    plain, stored = trained("plain", [])
    assert not any(stored) and not (plain / "trackers").exists()
    watched, _ = trained("watched", ["tensorboard"])
    assert results(watched) == results(plain)
    assert {path.name for path in (watched / "trackers").iterdir()} == {"07-train-none", "07-train-ml_lr"}
    for folder in (watched / "trackers").iterdir():
        curves = EventAccumulator(str(folder)).Reload()
        assert {event.step for event in curves.Scalars("train/loss")} == {1, 2, 3, 4}
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ

    _, stored = trained("plain", ["tensorboard"])
    assert stored and all(stored), "a finished stage is not done again for a tracker"


def test_a_folder_of_ones_own_holds_a_folder_for_each_training(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path))
    trained("elsewhere", ["tensorboard"])
    assert {path.name for path in tmp_path.iterdir()} == {"07-train-none", "07-train-ml_lr"}
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path)
