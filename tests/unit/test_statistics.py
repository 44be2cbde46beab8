"""Statistics against hand-worked cases and simulation."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from securetune.measures import statistics
from securetune.measures.statistics import (
    clustered,
    cohens_kappa,
    detectable_rise,
    difference,
    holm,
    mcnemar,
    paired_difference,
    proportion,
)


def test_wilsons_interval_equals_that_of_scipy_to_the_last_digit():
    for n in (1, 2, 7, 12, 50, 299, 1000):
        for hits in range(n + 1):
            expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
            ours = proportion([True] * hits + [False] * (n - hits))
            assert (ours.low, ours.high) == (expected.low, expected.high)


def test_holm_adjusts_step_by_step_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_kappa_equals_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    one, other = (list(map(bool, rng.integers(0, 2, 200))) for _ in range(2))
    assert cohens_kappa(one, other) == pytest.approx(cohen_kappa_score(one, other))
    assert cohens_kappa(one, one) == pytest.approx(1)
    assert cohens_kappa([True] * 3, [True] * 3) is None


def test_the_clustered_interval_is_wider_where_prompts_are_copies():
    outcomes, clusters = [True] * 40 + [False] * 60, [i // 10 for i in range(100)]
    alone, together = clustered(outcomes, list(range(100))), clustered(outcomes, clusters)
    assert alone.value == together.value == 0.4 and (alone.n, together.n) == (100, 10)
    assert together.high - together.low > 2 * (alone.high - alone.low)
    wilson = proportion(outcomes)
    assert alone.low == pytest.approx(wilson.low, abs=0.03) and alone.high == pytest.approx(wilson.high, abs=0.03)


def test_a_bootstrap_over_many_clusters_holds_a_part_at_a_time_and_draws_the_same(monkeypatch):
    outcomes = [i % 3 == 0 for i in range(3001)]
    clusters = [i // 2 for i in range(3001)]
    whole = clustered(outcomes, clusters, draws=101)
    monkeypatch.setattr(statistics, "_DRAWN_TOGETHER", 10_000_000)
    assert clustered(outcomes, clusters, draws=101) == whole
    for together in (1, 1501, 10_000):
        monkeypatch.setattr(statistics, "_DRAWN_TOGETHER", together)
        assert clustered(outcomes, clusters, draws=101) == whole
    monkeypatch.undo()
    many = [i % 3 == 0 for i in range(20_000)]
    tracemalloc.start()
    clustered(many, list(range(20_000)), draws=400)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 40_000_000, "all draws at once are 64 MB of numbers, three times over"


@pytest.mark.parametrize("outcome", [False, True])
def test_the_clustered_interval_has_a_width_where_all_outcomes_are_alike(outcome):
    found = clustered([outcome] * 100, [i // 10 for i in range(100)])
    assert found == proportion([outcome] * 10) and found.high - found.low > 0.2


def test_the_detectable_rise_is_seen_in_four_of_five_experiments():
    rng, n = np.random.default_rng(0), 120
    rise = detectable_rise(n)
    seen = [mcnemar([False] * n, list(rng.random(n) < rise)).p < 0.05 for _ in range(1500)]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.03)
    assert detectable_rise(5) == 1.0 and detectable_rise(1000) < detectable_rise(100)


def test_the_interval_of_a_paired_change_covers_and_has_a_width_where_nothing_changed():
    nothing = paired_difference([False] * 200, [False] * 200)
    assert nothing.value == 0 and nothing.high == pytest.approx(proportion([False] * 200).high)
    rng, n, covered = np.random.default_rng(0), 100, []
    for _ in range(1000):
        before = rng.random(n) < 0.2
        after = np.where(rng.random(n) < 0.8, before, rng.random(n) < 0.5)
        found = paired_difference(before.tolist(), after.tolist())
        covered.append(found.low <= 0.2 * (0.5 - 0.2) <= found.high)
    assert 0.93 < np.mean(covered) < 0.99
    one, other = paired_difference([True, False] * 9, [True] * 18), paired_difference([True] * 18, [True, False] * 9)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


@pytest.mark.parametrize(("before", "after", "lost"), [((90, 100), (1, 40), 30), ((39, 40), (20, 100), 3)])
def test_rates_of_unlike_numbers_of_prompts_are_not_paired(before, after, lost):
    rates = [proportion([i < hits for i in range(n)]) for hits, n in (before, after)]
    change = difference(*rates, lost=lost)
    assert change == difference(*rates) and change.low < change.value < change.high
