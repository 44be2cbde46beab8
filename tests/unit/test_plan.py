"""Plans: which entry decides, when, and what a plan's file may hold."""

import pytest

from securetune.base.artifacts import Product, RunFolder
from securetune.errors import PlanError
from securetune.models.topology import ModuleSet
from securetune.plans.plan import Entry, Phase, Plan, PlanModel, module_entries, plan_of
from tests.unit.test_topology import llama_topology


def test_module_entries_match_exactly_their_modules():
    topology = llama_topology()
    chosen = ModuleSet.parse(["1.q", "3.down"])
    plan = plan_of("ml_lr", PlanModel(id="x"), topology, chosen, rest_lr_mult=0.1)
    for ref, info in topology.modules.items():
        expected = (1.0,) if ref in chosen else (0.1,)
        assert plan.lr_scale(info.weight) == expected, ref
        assert plan.lr_scale(f"base_model.model.{info.path}.lora_A.default.weight") == expected, ref
    assert plan.lr_scale("vision_model.layers.1.self_attn.q_proj.weight") == (0.1,)
    assert len(module_entries(chosen, topology, lr_mult=1.0)) == 2


def test_first_matching_entry_wins():
    entries = (Entry(pattern="q_proj", lr_mult=0.5), Entry(pattern="layers", lr_mult=0.1))
    plan = Plan(method="x", model=PlanModel(id="x"), entries=entries)
    assert plan.lr_scale("layers.0.q_proj") == (0.5,)
    assert plan.lr_scale("layers.0.k_proj") == (0.1,)
    assert plan.lr_scale("embed_tokens") == (1.0,)


@pytest.mark.parametrize(("was", "now"), [("0.1", "0.9"), ('"seal"', '"seel"'), ('"seed": 0', '"seed": 1')])
def test_a_plan_artifact_that_was_changed_is_not_exported(was, now, tmp_path):
    plan = plan_of("ml_lr", PlanModel(id="x"), llama_topology(), ModuleSet.parse(["0.q"]), rest_lr_mult=0.1)
    path = tmp_path / "06-plan-ml_lr.json"
    RunFolder(tmp_path).produce("plan", {}, lambda: Product(data=plan.model_dump()), variant="ml_lr")
    path.write_text(path.read_text().replace(was, now))
    with pytest.raises(PlanError, match=r"Expected the plan artifact .*06-plan-ml_lr.json as .* changed. Put the orig"):
        Plan.load(path)


def test_phases_rule_their_share_of_the_steps():
    phase = Phase(until=0.25, entries=(Entry(pattern=".*", lr_mult=0.0),))
    plan = Plan(method="x", model=PlanModel(id="x"), entries=(), phases=(phase,))
    assert [plan.stage_at(step, 8) for step in range(4)] == [0, 0, 1, 1]
    assert not plan.is_frozen("w")


def test_plan_survives_its_file_and_a_bad_file_is_named(tmp_path):
    plan = plan_of("ml_lr", PlanModel(id="x"), llama_topology(), ModuleSet.parse(["0.q"]), rest_lr_mult=0.1)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    RunFolder(tmp_path).produce("plan", {}, lambda: Product(data=plan.model_dump()), variant="ml_lr")
    assert Plan.load(tmp_path / "06-plan-ml_lr.json") == plan
    (tmp_path / "cut.json").write_text('{"method": "x"')
    with pytest.raises(PlanError, match="Expected JSON in"):
        Plan.load(tmp_path / "cut.json")
    with pytest.raises(PlanError, match="found none"):
        Plan.load(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text('{"method": "x", "model": {"id": "x"}, "entries": [{"pattern": "("}]}')
    with pytest.raises(PlanError, match="not a regular expression"):
        Plan.load(tmp_path / "bad.json")
