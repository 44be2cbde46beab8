"""Searches: how large a set do they find, and does it stay within tolerance?"""

import itertools
import random

import pytest

from securetune.models.topology import ModuleRef, ModuleSet
from securetune.search import SEARCHES
from securetune.search.base.problem import SearchProblem


def additive_problem(costs, tolerance, **options):
    refs = {ModuleRef(i, "q"): cost for i, cost in enumerate(costs)}
    ranking = sorted(refs, key=lambda ref: refs[ref])
    score = lambda modules: sum(refs[ref] for ref in modules)  # noqa: E731
    return SearchProblem(ranking=ranking, score=score, tolerance=tolerance, layers=len(costs), **options)


@pytest.mark.parametrize("name", ["greedy", "bisect", "beam"])
def test_searches_find_the_optimum_where_drops_add_up(name):
    rng = random.Random(0)
    for _ in range(20):
        costs = [rng.random() for _ in range(9)]
        problem = additive_problem(costs, 1.5)
        best = max(k for k in range(10) if sum(sorted(costs)[:k]) <= 1.5)
        assert len(SEARCHES.get(name)(problem)) == best


@pytest.mark.parametrize("name", SEARCHES.names())
def test_every_search_returns_known_modules_and_repeats_itself(name):
    sets = [SEARCHES.get(name)(additive_problem([0.1 * i for i in range(8)], 1.0, size=3)) for _ in range(2)]
    assert sets[0] == sets[1]
    assert sets[0].members <= {ModuleRef(i, "q") for i in range(8)}
    if name in ("random", "inverted"):
        assert len(sets[0]) == 3


@pytest.mark.parametrize("name", ["greedy", "bisect", "pattern", "beam"])
def test_searches_stay_within_tolerance_when_robust_modules_are_sensitive_together(name):
    together = ModuleSet.parse(["0.q", "1.q"])
    problem = additive_problem([0.0, 0.0, 0.0, 0.5], 0.2)
    alone = problem.score
    problem.score = lambda modules: 1.0 if together.members <= modules.members else alone(modules)
    assert problem.score(SEARCHES.get(name)(problem)) <= 0.2


def clashing_problem(seed):
    """Drops that add up, and three pairs of modules that are sensitive together."""
    rng = random.Random(seed)
    problem = additive_problem([rng.random() for _ in range(8)], 1.2)
    refs = sorted(problem.ranking)
    pairs = [rng.sample(refs, 2) for _ in range(3)]
    alone = problem.score
    problem.score = lambda modules: alone(modules) + sum(a in modules and b in modules for a, b in pairs)
    return problem


def optimum(problem):
    """Size of the largest set within tolerance, by trying all of them."""
    refs = list(problem.ranking)
    sets = (ModuleSet.of(c) for k in range(len(refs) + 1) for c in itertools.combinations(refs, k))
    return max(len(s) for s in sets if problem.score(s) <= problem.tolerance)


def test_beam_comes_closer_to_the_brute_force_optimum_than_greedy_and_bisect():
    best = [optimum(clashing_problem(seed)) for seed in range(20)]
    short = {}
    for name in ("beam", "greedy", "bisect"):
        found = [len(SEARCHES.get(name)(clashing_problem(seed))) for seed in range(20)]
        assert all(f <= b for f, b in zip(found, best, strict=True))
        short[name] = sum(b - f for f, b in zip(found, best, strict=True))
    assert short["beam"] <= short["greedy"] <= short["bisect"]
    assert short["beam"] <= 2, "over all 20 problems together"
