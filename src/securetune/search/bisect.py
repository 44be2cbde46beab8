"""Bisect: the longest head of the ranking whose joint drop stays within tolerance.

About log2(modules) evaluations; exact where a longer head never drops less than a shorter one.
"""

from securetune.models.topology import ModuleSet
from securetune.search.base.problem import SearchProblem


def search(problem: SearchProblem) -> ModuleSet:
    """Halve the interval between the longest head known to fit and the shortest known not to."""
    fits, fails = 0, len(problem.ranking) + 1
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if problem.within(ModuleSet.of(problem.ranking[:middle])):
            fits = middle
        else:
            fails = middle
    return ModuleSet.of(problem.ranking[:fits])
