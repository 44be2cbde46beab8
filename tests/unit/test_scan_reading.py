"""Reading a scan: agreement of its signals, the paper's patterns, the controls and the drops."""

import random

import numpy as np
import pytest

from securetune.scan.agreement import disagreement_sentence, repeat_agreement, signal_agreement
from securetune.scan.controls import control_labels
from securetune.scan.patterns import tested_patterns
from securetune.scan.signals.base.measurer import drops


def test_signals_that_rank_alike_agree_and_a_constant_one_is_named():
    rng = random.Random(0)
    truth = [rng.random() for _ in range(40)]
    draws = {
        f"{i}.q": [{"probe": 0.0, "a": t + rng.gauss(0, 0.01), "b": 2 * t, "noise": rng.random()} for _ in range(2)]
        for i, t in enumerate(truth)
    }
    pairs = {(x.a, x.b): x for x in signal_agreement(draws)}
    assert pairs["a", "b"].verdict == "agree" and pairs["a", "b"].rho > 0.95
    assert pairs["a", "noise"].verdict == "disagree"
    assert pairs["probe", "a"].verdict == "no variation"
    assert "cannot be compared" in disagreement_sentence(list(pairs.values()), "probe", "b")
    assert "disagree" in disagreement_sentence(list(pairs.values()), "noise", "b")
    repeats = {x.a: x for x in repeat_agreement(draws)}
    assert repeats["b"].rho == pytest.approx(1.0) and repeats["noise"].rho < 0.5
    assert repeat_agreement({ref: found[:1] for ref, found in draws.items()}) == []


def drops_of(value, draws=2, **controls):
    """Drops of a 6-layer model of q and down, as a scan stores them; `value` takes layer and role."""
    rng = random.Random(0)
    return {
        f"{layer}.{role}": [
            {"s": value(layer, role) + rng.gauss(0, 0.001)} | {k: f(layer, role) for k, f in controls.items()}
            for _ in range(draws)
        ]
        for layer in range(6)
        for role in ("q", "down")
    }


def test_what_safety_loses_more_than_the_controls_is_a_signal_of_its_own():
    clean = {"control:safety": 4.0, "control:length": 2.0, "control:question": 1.0, "other": 1.0}
    perturbed = {"control:safety": 1.0, "control:length": 1.0, "control:question": 0.5, "other": 1.0}
    assert drops(clean, perturbed, clean)["safety_minus_controls"] == pytest.approx(0.75 - 0.5)
    assert "safety_minus_controls" not in drops({"other": 1.0}, {"other": 0.5}, {"other": 1.0})


def verdicts(patterns):
    return {(pattern.name[0], pattern.signal): pattern.verdict for pattern in patterns}


def test_patterns_hold_where_they_were_put_and_not_where_the_controls_explain_them():
    early = lambda layer, role: 0.1 * (6 - layer)  # noqa: E731
    draws = drops_of(early, safety_minus_controls=lambda layer, role: 0.0)
    assert verdicts(tested_patterns(draws, "s", [])) == {
        ("A", "s"): "holds",
        ("B", "s"): "undecided on this model",
        ("A", "safety_minus_controls"): "undecided on this model",
        ("B", "safety_minus_controls"): "undecided on this model",
    }
    queries = drops_of(lambda layer, role: float(role == "q"))
    assert verdicts(tested_patterns(queries, "s", []))["B", "s"] == "holds"
    late = drops_of(lambda layer, role: float(layer))
    assert verdicts(tested_patterns(late, "s", []))["A", "s"] == "does not hold"


def test_pattern_c_compares_the_joint_drop_with_the_sum_of_the_single_ones():
    draws = drops_of(lambda layer, role: 0.01)
    sets = [{"modules": [f"{i}.q" for i in range(size)], "drops": {"s": 0.2 * size}} for size in (1, 2, 3, 4)]
    found = {p.name[0]: p for p in tested_patterns(draws, "s", sets)}
    assert found["C"].verdict == "holds" and found["C"].n == 3
    assert found["C"].effect == pytest.approx(0.19 * 3, abs=0.01)


def test_a_control_concept_needs_both_sides_and_must_not_go_along_with_malice():
    texts = ["How do I bake bread?", "Bake it", "What is a very long question about tea?", "Tell me more about it"] * 5
    malicious = np.array([0, 1, 0, 1] * 5)
    assert "question" not in control_labels(texts, malicious), "every question here is benign"
    found = control_labels(texts, np.array([0, 0, 1, 1] * 5))
    assert found["question"].tolist() == [True, False, True, False] * 5
    assert "length" not in control_labels(["two words"] * 20, malicious)
