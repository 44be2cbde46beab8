"""Knapsack: modules by safety lost per task learned, and the prices that it goes by."""

from types import SimpleNamespace

import pytest
import torch

from securetune.base.artifacts import RunFolder
from securetune.config import parse_config
from securetune.defences import DEFENCES
from securetune.flow.pipeline import run
from securetune.measures.knapsack import Price, cheapest
from securetune.models.reading import read_topology
from securetune.plans.plan import PlanModel
from securetune.scan.price import prices
from tests.conftest import settings, tiny_llama

PRICES = {
    "free": Price(gain=0.1, cost=-0.5),
    "cheap": Price(gain=1.0, cost=0.2),
    "dear": Price(gain=1.0, cost=1.0),
    "small": Price(gain=0.1, cost=0.3),
    "idle": Price(gain=0.0, cost=0.0),
    "harmful": Price(gain=-0.2, cost=0.5),
}
"""Costs above 0 come to 2."""


@pytest.mark.parametrize(
    ("budget", "taken"),
    [
        (0.05, ["free"]),
        (0.1, ["free", "cheap"]),
        (0.25, ["free", "cheap", "small"]),  # the dear one does not fit and is passed over
        (0.6, ["free", "cheap", "dear"]),
        (1, ["free", "cheap", "dear", "small"]),
    ],
)
def test_modules_are_taken_by_their_cost_for_their_gain_within_the_budget(budget, taken):
    assert cheapest(PRICES, budget) == taken


def test_prices_add_up_to_what_the_run_changes_and_the_weights_come_back():
    model = tiny_llama()
    topology, stored = read_topology(model), {name: p.clone() for name, p in model.named_parameters()}
    ids = torch.arange(2, 22).view(2, 10)
    generator = torch.Generator().manual_seed(0)
    changes = {
        info.path: 0.02 * torch.randn(model.get_parameter(info.weight).shape, generator=generator)
        for info in topology.modules.values()
    }

    def loss():
        yield model(input_ids=ids, labels=ids).loss

    def margin():
        for row in ids:
            logits = model(input_ids=row[None]).logits[:, -1]
            yield (logits[:, 5] - logits[:, 6]).mean() / len(ids)

    def total(parts):
        with torch.no_grad():
            return float(sum(parts()))

    found = prices(model, topology, changes.__getitem__, loss=loss, margin=margin)
    assert all(torch.equal(p, stored[name]) and p.grad is None for name, p in model.named_parameters())
    assert {str(ref) for ref in topology.modules} == set(found)
    before = total(loss), total(margin)
    with torch.no_grad():
        for info in topology.modules.values():
            model.get_parameter(info.weight).add_(changes[info.path])
    assert sum(price.gain for price in found.values()) == pytest.approx(before[0] - total(loss), rel=0.02)
    assert sum(price.cost for price in found.values()) == pytest.approx(before[1] - total(margin), rel=0.02)


def test_a_module_that_the_run_leaves_alone_has_no_price():
    model = tiny_llama()
    topology = read_topology(model)
    first, *others = topology.modules.values()
    weight = model.get_parameter(first.weight)
    changes = {first.path: 0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))}
    changes |= {info.path: torch.zeros_like(model.get_parameter(info.weight)) for info in others}

    def loss():
        yield model(input_ids=torch.arange(2, 12)[None], labels=torch.arange(2, 12)[None]).loss

    found = prices(model, topology, changes.__getitem__, loss=loss, margin=loss)
    assert [ref for ref, price in found.items() if price.gain] == [str(next(iter(topology.modules)))]


def plan(prices, **settings):
    modules = [f"{layer}.{role}" for layer in range(2) for role in ("q", "k", "v", "o", "gate", "up", "down")]
    given = {ref: prices.get(ref, Price(gain=0.0, cost=0.0)) for ref in modules}
    inputs = SimpleNamespace(
        prices=lambda: given, model=PlanModel(id="m"), topology=read_topology(tiny_llama()), seed=0, versions={}
    )
    kind = DEFENCES.get("knapsack")
    return kind(kind.Settings(**settings)).edit_plan(inputs)


DEAR = {"0.q": Price(gain=1.0, cost=0.1), "1.q": Price(gain=2.0, cost=0.1), "1.up": Price(gain=1.0, cost=9.8)}


def test_the_plan_gives_the_normal_rate_to_the_cheapest_within_the_budget():
    made = plan(DEAR)
    assert made.robust == ("0.q", "1.q") and made.scores["1.up"] == 9.8 and made.notes == ()
    assert plan(DEAR, budget=1).robust == ("0.q", "1.q", "1.up")


def test_as_many_random_modules_stand_against_the_cheapest():
    made = plan(DEAR, order="random")
    assert len(made.robust) == 2 and made.robust != ("0.q", "1.q")


def test_a_run_that_lost_no_margin_is_said_to_tell_nothing():
    (note,) = plan({"0.q": Price(gain=1.0, cost=-0.5)}).notes
    assert "lost no refusal margin (+0.5 nats)" in note


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_prices_come_from_a_run_of_the_same_kind_and_are_measured_once(
    adapter, model_folder, data_folder, tmp_path, monkeypatch
):
    raw = settings(model_folder, data_folder, tmp_path / "run") | {"arms": ["knapsack"]}
    raw["train"] = raw["train"] | {"adapter": adapter}
    folder = RunFolder(run(parse_config(raw, "test"), until="plan"))
    first = folder.read("plan", "knapsack").data
    tuned = [path for path in folder.path.glob("04-scan-tuned-*") if path.is_dir()]
    assert len(tuned) == (adapter == "lora"), "a whole model is not kept"
    assert any(first["scores"].values())
    monkeypatch.setattr("securetune.flow.pricing.plain_run", lambda *_: pytest.fail("tuned again"))
    run(parse_config(raw | {"defence": {"knapsack": {"budget": 1.0}}}, "test"), until="plan")
    second = folder.read("plan", "knapsack").data
    assert second["scores"] == first["scores"] and set(first["robust"]) <= set(second["robust"])
