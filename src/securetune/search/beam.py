"""Beam: keep the few best sets of every size, so that one early choice cannot spoil the end.

At every size the `WIDTH` sets of least joint drop are grown by each of the next `BRANCHES` modules of the ranking that
they do not hold; at most width x branches evaluations per size.
"""

from securetune.models.topology import ModuleSet
from securetune.search.base.problem import SearchProblem

WIDTH = 4
BRANCHES = 4


def search(problem: SearchProblem) -> ModuleSet:
    """Grow all sets of the beam by one module until none fits; the best of the last size that fitted."""
    beam = [ModuleSet()]
    while True:
        grown = {
            members | ModuleSet.of([ref])
            for members in beam
            for ref in [ref for ref in problem.ranking if ref not in members][:BRANCHES]
        }
        fitting = [members for members in grown if problem.within(members)]
        if not fitting:
            return beam[0]
        beam = sorted(fitting, key=lambda members: (problem.evaluated[members], members.names()))[:WIDTH]
