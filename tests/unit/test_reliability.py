"""Does a scan know how good its ranking and the choice by it are, and does a robust set say when it is none?"""

import random

import pytest

from securetune.measures.stability import by_halves, is_chance, overlap, sentences
from securetune.models.topology import ROLES, ModuleRef, ModuleSet
from securetune.scan.reliability import reliability, stability
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


def test_the_overlap_of_choices_of_two_of_four_is_what_was_worked_out_by_hand():
    found = overlap([("ab", "ac"), ("ab", "ba")], 4)
    assert (found.size, found.total, found.common) == (2, 4, 1.5)
    assert found.iou == pytest.approx((1 / 3 + 1) / 2)
    # Random pairs share 0, 1 or 2 in one, four and one of six cases.
    assert found.chance_common == pytest.approx(1)
    assert found.chance_iou == pytest.approx(4 / 6 * 1 / 3 + 1 / 6)
    assert found.corrected == pytest.approx(5 / 11)
    assert found.is_chance, "one pair in six is identical"


def scanned(of_part, *, modules=40, draws=4, parts=8):
    """A scan of modules beyond layer 0, whose drop on a part of the prompts is `of_part` of module and part."""
    rows = {f"{i + 1}.q": {f"part:{p}": of_part(i, p) for p in range(parts)} for i in range(modules)}
    return {ref: [{"s": sum(row.values()) / parts} | row] * draws for ref, row in rows.items()}


def compared(draws, robust):
    return {(of.halves, of.first_layer): of for of in stability(draws, "s", robust)}


def test_of_a_robust_set_of_nearly_all_modules_the_sensitive_ones_are_compared():
    found = compared(scanned(lambda i, p: float(i)), {f"{i + 1}.q" for i in range(36)})
    assert set(found) == {("draws", 0), ("draws", 1), ("prompts", 0), ("prompts", 1)}
    for of in found.values():
        assert of.chosen == "sensitive" and of.reliability == pytest.approx(1)
        assert (of.overlap.size, of.overlap.iou, of.overlap.is_chance) == (4, 1, False)
    sentence = "4.0 of 4 sensitive modules stay the same (chance: 0.4)"
    assert sentences(list(found.values())) == [
        f"Found from the other half of the {halves}, {sentence}, without layer 0 {sentence}."
        for halves in ("prompts", "draws")
    ]


def test_a_choice_that_every_prompt_makes_anew_is_stable_over_draws_and_no_better_than_chance_over_prompts():
    noise = random.Random(0)
    found = compared(scanned(lambda i, p: noise.gauss(0, 1)), {f"{i + 1}.q" for i in range(10)})
    assert found["draws", 0].overlap.iou == 1 and not found["draws", 0].overlap.is_chance
    over_prompts = found["prompts", 1]
    assert over_prompts.chosen == "robust" and over_prompts.overlap.is_chance and over_prompts.reliability < 0.5
    assert over_prompts.overlap.iou < over_prompts.overlap.chance_iou + 0.1
    assert [is_chance(group) for group in by_halves(list(found.values()))] == [True, False]
    prompts, draws = sentences(list(found.values()))
    assert prompts.endswith(
        "not known to be better than chance, so other prompts may choose other modules. Raise scan.prompts."
    )
    assert "chance, so" not in draws


def test_layer_0_alone_does_not_make_a_choice_better_than_chance():
    noise = random.Random(0)
    draws = scanned(lambda i, p: noise.gauss(0, 1))
    draws |= {f"0.{role}": [{name: 1000.0 for name in draws["1.q"][0]}] for role in ROLES}
    found = stability(draws, "s", {f"{i + 1}.q" for i in range(36)})
    verdicts = {of.first_layer: of.overlap.is_chance for of in found if of.halves == "prompts"}
    assert verdicts == {0: False, 1: True} and is_chance(by_halves(found)[0])


def test_sensitive_modules_of_layer_0_alone_are_said_to_be_so():
    draws = scanned(lambda i, p: float(i))
    found = stability(draws | {"0.q": [{name: 99.0 for name in draws["1.q"][0]}] * 4}, "s", set(draws))
    assert sentences(found)[0].endswith(
        "1.0 of 1 sensitive modules stay the same (chance: 0.0); beyond layer 0 all modules are on one side."
    )


def test_draws_that_choose_anew_are_not_known_to_be_better_than_chance():
    noise = random.Random(0)
    draws = {f"{i + 1}.q": [{"s": noise.gauss(0, 1)} for _ in range(4)] for i in range(40)}
    (sentence,) = sentences(stability(draws, "s", {f"{i + 1}.q" for i in range(36)}))
    assert "so other draws may choose other modules. Raise scan.max_draws." in sentence


def test_modules_that_tie_share_no_more_than_chance():
    tied = compared(scanned(lambda i, p: 0.0), {f"{i + 1}.q" for i in range(10)})["prompts", 0]
    assert tied.reliability is None and tied.overlap.is_chance and tied.overlap.iou < 0.3


@pytest.mark.parametrize("robust", [set(), {f"{i + 1}.q" for i in range(40)}])
def test_an_empty_or_full_robust_set_has_nothing_to_compare(robust):
    found = stability(scanned(lambda i, p: float(i)), "s", robust)
    assert len(found) == 4 and all(of.overlap is None for of in found)
    assert sentences(found) == []


def test_what_was_not_kept_apart_has_no_halves():
    whole = {ref: [{"s": draw["s"]} for draw in repeats] for ref, repeats in scanned(lambda i, p: float(i)).items()}
    assert {of.halves for of in stability(whole, "s", {"1.q"})} == {"draws"}
    mixed = scanned(lambda i, p: float(i)) | {"9.q": [{"s": 0.0}] * 4}
    assert {of.halves for of in stability(mixed, "s", {"1.q"})} == {"draws"}, "a scan that an older version began"
    assert stability({ref: repeats[:1] for ref, repeats in whole.items()}, "s", {"1.q"}) == []
