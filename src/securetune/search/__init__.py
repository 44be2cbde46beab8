"""Search: which is the largest set of modules whose joint perturbation stays within tolerance?

A plug-in is a function `search(problem)` that returns a `ModuleSet`. It sees a ranking and a callable that scores a
set; it knows no model. Source: Mods_Robust and its proxy-guided search, Du et al. 2024, arXiv 2410.04524.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from securetune.base.registry import Registry

if TYPE_CHECKING:
    from securetune.models.topology import ModuleSet
    from securetune.search.base.problem import SearchProblem

SEARCHES: "Registry[Callable[[SearchProblem], ModuleSet]]" = Registry(
    kind="search", package="securetune.search", attribute="search", expects="collections.abc:Callable"
)
