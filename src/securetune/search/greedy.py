"""Greedy: add modules from the most robust on, and keep each one that leaves the joint drop within tolerance.

One evaluation per module. Unlike `bisect` it goes on past a module that does not fit.
"""

from securetune.models.topology import ModuleSet
from securetune.search.base.problem import SearchProblem


def search(problem: SearchProblem) -> ModuleSet:
    """Grow the set one module at a time, re-measured jointly."""
    robust = ModuleSet()
    for ref in problem.ranking:
        candidate = robust | ModuleSet.of([ref])
        if problem.within(candidate):
            robust = candidate
    return robust
