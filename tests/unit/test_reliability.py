"""Does a scan know how good its ranking is, and does a robust set say when it is none?"""

import random

import pytest

from securetune.models.topology import ROLES, ModuleRef, ModuleSet
from securetune.scan.reliability import reliability
from securetune.search.base.balance import cautions

EVERYTHING = ModuleSet.of(ModuleRef(layer, role) for layer in range(8) for role in ("q", "down"))


def drawn(count, noise):
    """Draws of 200 modules beyond layer 0 whose true drops have variance 1."""
    rng = random.Random(0)
    truth = {f"{i + 1}.q": rng.gauss(0, 1) for i in range(200)}
    return {ref: [{"s": true + rng.gauss(0, noise)} for _ in range(count)] for ref, true in truth.items()}


@pytest.mark.parametrize(("count", "noise"), [(2, 1.0), (4, 1.0), (5, 2.0)])
def test_reliability_is_the_share_of_the_means_variance_that_repeats_itself(count, noise):
    found = reliability(drawn(count, noise), "s")
    assert found.draws == count
    assert found.everywhere == pytest.approx(1 / (1 + noise**2 / count), abs=0.08)


def test_a_ranking_that_layer_0_alone_holds_up_is_called_a_guess():
    noise = dict(list(drawn(4, 50.0).items())[:15])
    draws = noise | {f"0.{role}": [{"s": 1000.0 + i}] * 4 for i, role in enumerate(ROLES)}
    found = reliability(draws, "s")
    assert found.everywhere > 0.5 > found.beyond_first_layer
    assert found.is_guess and "not better than a guess. Raise scan.max_draws" in found.sentence


@pytest.mark.parametrize(("draws", "words"), [(drawn(1, 0.0), "one draw"), ({"1.q": [{"s": 0.0}] * 2}, "no variation")])
def test_one_draw_or_no_variation_tells_nothing(draws, words):
    found = reliability(draws, "s")
    assert found.everywhere is None and found.is_guess and words in found.sentence


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (ModuleSet(), "EMPTY.*Lower scan.strength or raise search.tolerance"),
        (EVERYTHING, "FULL.*Raise scan.strength or lower search.tolerance"),
        (ModuleSet.parse([f"{layer}.q" for layer in range(8)]), "the role down"),
        (ModuleSet.parse([f"{layer}.{role}" for layer in range(6) for role in ("q", "down")]), "the last quarter"),
    ],
)
def test_an_empty_full_or_one_sided_robust_set_says_so_and_what_to_change(chosen, words):
    (caution,) = cautions(chosen, EVERYTHING)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(caution)
    assert cautions(EVERYTHING - ModuleSet.parse(["3.q"]), EVERYTHING) == []
