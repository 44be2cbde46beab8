"""Inverted: the most sensitive modules, as many as asked for; a baseline that should do worst."""

from securetune.models.topology import ModuleSet
from securetune.search.base.problem import SearchProblem


def search(problem: SearchProblem) -> ModuleSet:
    """The last `problem.size` modules of the ranking (half of all, when None)."""
    size = len(problem.ranking) // 2 if problem.size is None else problem.size
    return ModuleSet.of(problem.ranking[len(problem.ranking) - size :])
