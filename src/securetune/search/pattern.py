"""Pattern: greedy over groups, one group per role and depth quarter.

Cheap on deep models (28 evaluations for seven roles whatever the depth) and easy to read.
"""

from securetune.models.topology import ModuleRef, ModuleSet
from securetune.search.base.problem import SearchProblem

BANDS = 4


def search(problem: SearchProblem) -> ModuleSet:
    """Add whole groups, most robust first, while the joint drop stays within tolerance."""
    groups: dict[tuple[str, int], list[ModuleRef]] = {}
    for ref in problem.ranking:
        groups.setdefault((ref.role, ref.layer * BANDS // problem.layers), []).append(ref)
    rank = {ref: i for i, ref in enumerate(problem.ranking)}
    robust = ModuleSet()
    for members in sorted(groups.values(), key=lambda refs: sum(rank[ref] for ref in refs) / len(refs)):
        candidate = robust | ModuleSet.of(members)
        if problem.within(candidate):
            robust = candidate
    return robust
