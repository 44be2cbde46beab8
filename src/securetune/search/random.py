"""Random: as many modules as asked for, drawn without looking; a baseline."""

import random

from securetune.models.topology import ModuleSet
from securetune.search.base.problem import SearchProblem


def search(problem: SearchProblem) -> ModuleSet:
    """Draw `problem.size` modules (half of all, when None) with `problem.seed`."""
    refs = sorted(problem.ranking)
    size = len(refs) // 2 if problem.size is None else problem.size
    return ModuleSet.of(random.Random(problem.seed).sample(refs, size))
