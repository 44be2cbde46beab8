"""Every signal through one suite: adding the file adds its tests."""

import importlib
import json
from math import log

import numpy as np
import pytest
import torch

from securetune.config import parse_config
from securetune.flow.pipeline import run
from securetune.models.features import Features
from securetune.models.openings import Openings
from securetune.scan.probe import LinearProbe
from securetune.scan.signals import SIGNALS
from securetune.scan.signals.base.interface import Baseline, LogitSignal, PromptSignal, Signal
from securetune.scan.signals.base.measurer import Signals, drops
from tests.conftest import add_plug_ins, settings

# Two malicious prompts, then two benign ones; token 0 refuses, token 1 complies. The probe reads the one hidden
# number: benign margins have mean -2 and standard deviation 1.
BENIGN = [[0.2, 0.6, 0.2], [0.2, 0.6, 0.2]]
LABELS = np.array([1, 1, 0, 0])


def features(hidden, probabilities):
    return Features(hidden=torch.tensor([[float(x)] for x in hidden]), logits=torch.tensor(probabilities).log())


CLEAN = features([2, 1, -1, -3], [[0.6, 0.2, 0.2], [0.4, 0.4, 0.2], *BENIGN])
PERTURBED = features([-1, 1, -1, -3], [*BENIGN, *BENIGN])
UNSAFE = features([-1, -3, -1, -3], [*BENIGN, *BENIGN])
"""A model that reads malicious prompts as it reads benign ones."""

KNOWN = {
    "probe": LinearProbe(mean=np.zeros(1), scale=np.ones(1), weight=np.ones(1), bias=0.0),
    "openings": Openings(refusal=(0,), affirmative=(1,)),
    "labels": LABELS,
    "clean": CLEAN,
}
BASELINE = Baseline(**KNOWN)

WORKED = {
    "probe_accuracy": (1.0, 0.5, 1.0),
    "probe_auroc": (1.0, 3.5 / 4, 0.5),
    "probe_margin": ((4 + 3) / 2, (1 + 3) / 2, 3.5),
    "refusal_margin": (log(3) / 2, -log(3), 1.5 * log(3)),
    "first_token_kl": (0.0, -0.2 * (log(3) + log(4 / 3)), 0.5 * log(2.5) + 0.3 * log(0.5)),
}
"""Signal -> its value on `CLEAN`, on `PERTURBED`, and its range."""


@pytest.mark.parametrize("name", WORKED)
def test_a_signal_is_what_was_worked_out_by_hand(name):
    signal = SIGNALS.get(name)
    clean = signal.measure(BASELINE, CLEAN)
    values = clean, signal.measure(BASELINE, PERTURBED), signal.range(BASELINE, clean)
    assert values == pytest.approx(WORKED[name], abs=1e-6)


@pytest.mark.parametrize("name", SIGNALS.names())
def test_a_signal_says_what_it_measures_and_has_a_version(name):
    signal = SIGNALS.get(name)
    assert isinstance(signal, Signal) and signal.version >= 1
    title, _, rest = importlib.import_module(f"securetune.scan.signals.{name}").__doc__.split("\n")[0].partition(": ")
    assert title and rest.endswith(".")


@pytest.mark.parametrize("name", SIGNALS.names())
def test_a_drop_is_nothing_on_the_clean_model_and_all_where_malicious_prompts_read_as_benign_ones(name):
    signal = SIGNALS.get(name)
    clean = signal.measure(BASELINE, CLEAN)
    whole = signal.range(BASELINE, clean)
    again = signal.measure(BASELINE, Features(hidden=CLEAN.hidden.clone(), logits=CLEAN.logits.clone()))
    assert isinstance(clean, float) and isinstance(whole, float)
    assert whole > 0 and again == clean
    assert (clean - signal.measure(BASELINE, UNSAFE)) / whole > 1 - 1e-6


@pytest.mark.parametrize("name", [name for name in SIGNALS.names() if isinstance(SIGNALS.get(name), PromptSignal)])
def test_a_prompt_signals_mean_is_its_value_whatever_prompts_are_read_together(name):
    signal = SIGNALS.get(name)
    now, clean = PERTURBED.of(BASELINE.malicious), CLEAN.of(BASELINE.malicious)
    values = signal.per_prompt(BASELINE, now, clean)
    assert isinstance(values, np.ndarray) and values.shape == (2,)
    assert values.mean() == pytest.approx(signal.measure(BASELINE, PERTURBED))
    alone = [signal.per_prompt(BASELINE, now.of(rows), clean.of(rows)) for rows in ([0], [1])]
    assert np.concatenate(alone) == pytest.approx(values)


@pytest.mark.parametrize("name", [name for name in SIGNALS.names() if isinstance(SIGNALS.get(name), LogitSignal)])
def test_a_logit_signal_has_a_slope_at_the_clean_model(name):
    logits = CLEAN.logits[:2].clone().requires_grad_()
    values = SIGNALS.get(name).of_logits(BASELINE, logits)
    assert values.shape == (2,)
    (slope,) = torch.autograd.grad(values.sum(), logits)
    assert slope.isfinite().all() and slope.abs().sum() > 1e-3


def test_all_signals_are_measured_together_beside_the_refitted_probe_and_the_controls():
    length = np.array([True, False, True, False])
    signals = Signals(**KNOWN, controls={"length": (KNOWN["probe"], length)})
    clean = signals.measure(CLEAN)
    lost = drops(clean, signals.measure(PERTURBED), signals.ranges(clean))
    beside = {"refit_auroc", "control:safety", "control:length", "safety_minus_controls"}
    assert set(lost) == {*SIGNALS.names(), *beside}
    assert {name: lost[name] for name in WORKED} == pytest.approx(
        {name: (before - after) / whole for name, (before, after, whole) in WORKED.items()}, abs=1e-6
    )


SIXTH = '''
"""Loudness: mean size of the hidden state on malicious prompts."""

from securetune.scan.signals.base.interface import PromptSignal


class Loudness(PromptSignal):
    """An example."""

    def per_prompt(self, baseline, now, clean):
        """Norms."""
        return now.hidden.norm(dim=-1).double().numpy()

    def range(self, baseline, clean):
        """Down to nothing."""
        return clean


signal = Loudness()
'''.lstrip()


def test_a_signals_file_alone_makes_the_scan_measure_it_and_an_older_scan_is_made_anew(
    model_folder, data_folder, tmp_path, monkeypatch
):
    raw = settings(model_folder, data_folder, tmp_path / "run")
    stored = tmp_path / "run/04-scan.json"

    def scanned(**scan):
        run(parse_config(raw | {"scan": raw["scan"] | scan}, "test"), until="scan")
        return json.loads(stored.read_text())

    without, written = scanned(), stored.stat().st_mtime_ns
    assert scanned() == without and stored.stat().st_mtime_ns == written, "nothing new, nothing measured"
    (tmp_path / "more").mkdir()
    (tmp_path / "more/loudness.py").write_text(SIXTH)
    add_plug_ins(monkeypatch, "scan.signals", tmp_path / "more")

    measured = scanned()
    assert measured["inputs"] != without["inputs"]
    assert "loudness" in measured["data"]["ranges"] and "loudness" not in without["data"]["ranges"]
    for ref, draws in measured["data"]["draws"].items():
        assert [draw.pop("loudness") for draw in draws] != [0.0], ref
    assert measured["data"]["draws"] == without["data"]["draws"], "the other signals are as they were"

    raced = scanned(method="race", signal="loudness", strength=0.5)
    names = {name for name in raced["data"]["draws"]["0.q"][0] if not name.startswith("part:")}
    assert {"loudness", "prompts"} == names

    monkeypatch.setattr(type(SIGNALS.get("loudness")), "version", 2)
    assert scanned()["inputs"]["signals"] not in (without["inputs"]["signals"], measured["inputs"]["signals"])
