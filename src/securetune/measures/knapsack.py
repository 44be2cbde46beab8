"""Knapsack: which modules teach the task most for the safety that they cost?

Source: Dantzig 1957, "Discrete-variable extremum problems": things are taken by their value for their weight. Modules
are taken whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Price:
    """A module's part in what tuning does."""

    gain: float
    """Task loss gained, in nats per answer token; below 0 the loss rises."""
    cost: float
    """Refusal margin lost on malicious prompts, in nats; below 0 the margin rises."""

    @property
    def per_gain(self) -> float:
        """Margin lost per nat of loss gained; infinite where nothing is gained."""
        return self.cost / self.gain if self.gain > 0 else float("inf")


def cheapest(prices: Mapping[str, Price], budget: float) -> list[str]:
    """The modules that gain something, the cheapest first, as long as their costs together stay within the budget.

    Args:
        prices: of every module.
        budget: as a share of what all modules that lose margin would lose.

    Returns:
        Their names, those that cost nothing first.
    """
    left = budget * sum(max(price.cost, 0.0) for price in prices.values())
    taken = []
    for name in sorted(prices, key=lambda name: prices[name].per_gain):
        price = prices[name]
        if price.gain > 0 and price.cost <= left:
            taken.append(name)
            left -= max(price.cost, 0.0)
    return taken
