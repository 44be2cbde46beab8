"""Patterns that others write: what they mean, and how long they may take."""

import re
import time

import pytest

from securetune.base.patterns import LONGEST, compiles, is_found, matches_whole
from securetune.errors import PatternError
from securetune.plans.plan import Entry, Plan, PlanModel

HOPELESS = [(r"^(a|aa)+$", "a" * 60 + "b"), (r"(.*?,){20}P", "1,2,3,4,5,6,7,8,9," * 6)]


@pytest.mark.parametrize(("pattern", "text"), [*HOPELESS, (r"(a+)+$", "a" * 60 + "b")])
def test_no_pattern_is_matched_for_longer_than_a_second(pattern, text):
    start = time.process_time()
    for ask in (is_found, matches_whole):
        try:
            assert not ask(pattern, text)
        except PatternError as error:
            assert "to be matched within 0.5 s" in str(error) and "repetitions within repetitions" in str(error)
    assert time.process_time() - start < 2


def test_a_plan_whose_pattern_never_ends_is_an_error_that_names_it():
    entry = Entry(pattern=HOPELESS[0][0])
    plan = Plan(method="by hand", model=PlanModel(id="m"), entries=(entry,))
    for ask in (plan.lr_scale, lambda name: plan.check_patterns([name])):
        with pytest.raises(PatternError, match=r"the pattern '\^\(a\|aa\)\+\$' to be matched within"):
            ask(HOPELESS[0][1])


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("self_attn", "model.layers.1.self_attn.q_proj"), (r"layers\.(1|2)\.", "layers.3.mlp"), ("(?!x)y$", "xy"),
        (r"(?<=\.)q", "a.q"), ("", "x"), ("^$", "x"), ("(?i)Q", "q"), (r"(\w)\1", "aa"), ("[[a]", "["), ("ß", "ss"),
    ],
)  # fmt: skip
def test_a_pattern_means_what_it_means_to_python(pattern, text):
    assert is_found(pattern, text) == (re.search(pattern, text) is not None)
    assert matches_whole(pattern, text) == (re.fullmatch(pattern, text, re.DOTALL) is not None)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "is not a regular expression"), ("a{2,1}", "is not a regular expression"), (r"\p{L}", "bad escape"),
        ("a{99999999999999999999}", "is not a regular expression"), ("(" * 5000 + ")" * 5000, "too deeply nested"),
        ("a" * (LONGEST + 1), "write several shorter ones"),
    ],
)  # fmt: skip
def test_what_is_no_pattern_is_told_before_anything_is_matched(pattern, reason):
    with pytest.raises(ValueError, match=reason):
        compiles(pattern)
