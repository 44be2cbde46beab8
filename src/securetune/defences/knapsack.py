"""Knapsack plan: the normal rate where the task is learned for little safety, a far smaller one elsewhere.

Ours. What a module gains of the task loss and loses of the refusal margin is read off a plain run of the same length;
modules are taken by their cost for their gain until a share of the whole cost is spent.
"""

import random
from typing import Literal

from pydantic import Field

from securetune.defences.base.interface import RATES, Defence, PlanInputs, SensitiveRate
from securetune.defences.base.needs import PLAIN_RUN
from securetune.measures.knapsack import cheapest
from securetune.models.topology import ModuleSet
from securetune.plans.plan import Plan, plan_of


class Budgeted(SensitiveRate):
    """Settings of the knapsack plan."""

    budget: float = Field(default=0.02, gt=0, le=1)
    """Share of the margin that all modules would lose which the chosen ones may lose."""
    order: Literal["price", "random"] = "price"
    """``random`` takes as many modules, drawn: what the prices are worth."""


class Knapsack(Defence):
    """Modules by safety lost per task learned."""

    title, paper = "knapsack plan", "ours"
    needs, decides = (PLAIN_RUN,), (RATES,)
    cost = "none; once, a plain run and a few backward passes"
    Settings = Budgeted

    def edit_plan(self, inputs: PlanInputs) -> Plan:
        """The normal rate on the cheapest modules."""
        prices = inputs.prices()
        chosen = cheapest(prices, self.settings.budget)
        if self.settings.order == "random":
            chosen = random.Random(inputs.seed).sample(sorted(prices), len(chosen))
        lost = sum(price.cost for price in prices.values())
        plan = plan_of(
            "knapsack",
            inputs.model,
            inputs.topology,
            ModuleSet.parse(chosen),
            rest_lr_mult=self.settings.sensitive_lr_mult,
            scores={ref: price.cost for ref, price in prices.items()},
            signal="refusal margin lost in a plain run",
            seed=inputs.seed,
            versions=inputs.versions,
        )
        if lost > 0:
            return plan
        note = f"Plain tuning lost no refusal margin ({-lost:+.2g} nats), so its prices say little about safety."
        return plan.model_copy(update={"notes": (*plan.notes, note)})


defence = Knapsack
