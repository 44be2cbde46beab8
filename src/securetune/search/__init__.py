"""Search: which is the largest set of modules whose joint perturbation stays within tolerance?

A plug-in is a function `search(problem)` that returns a `ModuleSet`. It sees a ranking and a callable that scores a
set; it knows no model. Source: Mods_Robust and its proxy-guided search, Du et al. 2024, arXiv 2410.04524.
"""

from securetune.base.registry import Registry

SEARCHES = Registry(kind="search", package="securetune.search", attribute="search")
