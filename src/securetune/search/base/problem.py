"""Problem: what every search is given, and what it leaves behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from securetune.models.topology import ModuleRef, ModuleSet


@dataclass(kw_only=True)
class SearchProblem:
    """A ranking of modules, a joint score and a budget; counts and keeps every evaluation."""

    ranking: Sequence[ModuleRef]
    """Modules from the most robust to the most sensitive."""
    score: Callable[[ModuleSet], float]
    """Joint drop of a set, as a share of the signal's range; lower is better."""
    tolerance: float
    """Largest joint drop that still counts as robust."""
    layers: int
    """Number of decoder layers."""
    size: int | None = None
    """Number of modules to return, for searches that do not decide it themselves."""
    seed: int = 0
    evaluated: dict[ModuleSet, float] = field(default_factory=dict)
    """Every set scored so far, with its joint drop."""

    def within(self, modules: ModuleSet) -> bool:
        """Whether the joint drop of `modules` stays within tolerance; scores each set once."""
        if modules not in self.evaluated:
            self.evaluated[modules] = self.score(modules)
        return self.evaluated[modules] <= self.tolerance
