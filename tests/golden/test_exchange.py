"""Plans for other trainers, against those trainers' own rules of matching, on real parameter names."""

import re

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM, Trainer
from typer.testing import CliRunner

from securetune.cli import app
from securetune.errors import PlanError
from securetune.models.reading import read_topology
from securetune.models.topology import ModuleSet, clean_name
from securetune.plans.export import (
    _UNDECAYED,
    FORMATS,
    adapter_names,
    axolotl_rate,
    plan_from_list,
    to_axolotl,
    to_lora,
)
from securetune.plans.plan import Entry, Phase, Plan, PlanModel, plan_of
from tests.conftest import tiny_llama

RATE = 2e-4
MODEL = PlanModel(id="tiny")


@pytest.fixture(scope="module")
def deep():
    """Twelve layers, so that layer 1 is a prefix of layers 10 and 11."""
    return tiny_llama(layers=12)


@pytest.fixture(scope="module")
def topology(deep):
    return read_topology(deep)


@pytest.fixture
def plan(topology):
    return plan_of("ml_lr", MODEL, topology, ModuleSet.parse(["1.q", "1.down", "11.v", "3.gate"]), rest_lr_mult=0.05)


def axolotls_own_rule(exported, names, decayed):
    """axolotl 0.19, `create_optimizer_grouped_parameters`: which rate does every parameter get?"""
    lookup = {module: group["lr"] for group in exported["lr_groups"] for module in group["modules"]}
    rates = {}
    for name in names:
        rates[name] = exported["learning_rate"]
        if name.endswith("modules_to_save.default.weight") or "embed_tokens" in name or "lm_head" in name:
            continue
        if name in decayed:
            matching = [module for module in lookup if module in name]
            if matching:
                rates[name] = lookup[matching[0]]
    return rates


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_axolotl_gives_exactly_the_intended_parameters_their_rates(adapter, deep, topology, plan):
    model = (
        deep if adapter == "full" else get_peft_model(tiny_llama(layers=12), LoraConfig(target_modules="all-linear"))
    )
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    exported = to_axolotl(plan, topology, names, learning_rate=RATE)
    rates = axolotls_own_rule(exported, names, set(Trainer.get_decay_parameter_names(None, model)))
    assert {name: pytest.approx(RATE * plan.lr_scale(name)[-1]) for name in names} == rates
    fast = {re.sub(r"\.(lora_[AB]\.default\.)?weight$", "", clean_name(n)) for n, rate in rates.items() if rate == RATE}
    robust = ("1.self_attn.q_proj", "1.mlp.down_proj", "11.self_attn.v_proj", "3.mlp.gate_proj")
    assert fast == {f"model.layers.{module}" for module in robust}
    assert all(axolotl_rate(name, exported) == rate for name, rate in rates.items())


def test_what_counts_as_undecayed_is_what_the_trainer_says(deep):
    decayed = set(Trainer.get_decay_parameter_names(None, deep))
    names = [name for name, _ in deep.named_parameters()]
    assert {name for name in names if not _UNDECAYED.search(name)} == decayed & set(names)


def test_what_axolotl_cannot_give_is_refused_with_the_parameter():
    config = Qwen2Config(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    topology = read_topology(model)
    plan = plan_of("ml_lr", MODEL, topology, ModuleSet.parse(["1.q"]), rest_lr_mult=0.05)
    with pytest.raises(PlanError, match=r"axolotl to train model.layers.1.self_attn.q_proj.bias at x1, .* gives x0.05"):
        to_axolotl(plan, topology, [name for name, _ in model.named_parameters()], learning_rate=RATE)
    assert to_axolotl(plan, topology, adapter_names(topology), learning_rate=RATE)


@pytest.mark.parametrize("name", ["axolotl", "nemo", "torchtitan"])
def test_a_plan_with_phases_is_refused(name, topology, plan):
    phased = plan.model_copy(update={"phases": (Phase(until=0.5, entries=(Entry(pattern=".*", lr_mult=0.0),)),)})
    with pytest.raises(PlanError, match="without phases"):
        FORMATS[name](phased, topology, adapter_names(topology), learning_rate=RATE)


@pytest.mark.parametrize(("name", "field"), [("nemo", "param_group_overrides"), ("torchtitan", "param_groups")])
def test_patterns_for_nemo_and_torchtitan_claim_every_parameter_once_in_their_order(name, field, topology, plan, deep):
    names = [n for n, _ in deep.named_parameters()]
    groups = FORMATS[name](plan, topology, names, learning_rate=RATE)[field]
    for parameter in names:
        first = next(group for group in groups if re.search(group["pattern"], parameter))
        found = first["lr_mult"] if name == "nemo" else first["optimizer_kwargs"]["lr"] / RATE
        assert found == pytest.approx(plan.lr_scale(parameter)[-1])


def test_peft_adapts_exactly_the_robust_set(topology, plan):
    model = get_peft_model(tiny_llama(layers=12), LoraConfig(**to_lora(plan, topology, [], learning_rate=RATE)))
    adapted = {clean_name(name).partition(".lora_")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert adapted == {topology.modules[ref].path for ref in ModuleSet.parse(plan.robust)}


def test_adapter_names_are_pefts(topology):
    model = get_peft_model(tiny_llama(layers=12), LoraConfig(target_modules="all-linear"))
    assert set(adapter_names(topology)) == {name for name, p in model.named_parameters() if p.requires_grad}


def test_a_published_list_of_layers_becomes_a_plan(topology):
    plan = plan_from_list([1, "11.q", "model.layers.3.mlp.up_proj"], topology, MODEL, lr_mult=0.0)
    frozen = {str(ref) for ref, info in topology.modules.items() if plan.is_frozen(info.weight)}
    assert frozen == {"11.q", "3.up", *(f"1.{role}" for role in topology.roles)}
    for wrong in ([12], ["1.nose"], []):
        with pytest.raises(PlanError):
            plan_from_list(wrong, topology, MODEL, lr_mult=0.0)


def test_the_command_line_exports_and_imports(model_folder, tmp_path):
    (tmp_path / "layers.yaml").write_text("[1]")
    words = ["plan-from-list", tmp_path / "layers.yaml", "--model", model_folder, "--output", tmp_path / "plan.json"]
    made = CliRunner().invoke(app, [str(word) for word in words])
    assert made.exit_code == 0, made.output
    assert Plan.load(tmp_path / "plan.json").is_frozen("model.layers.1.mlp.up_proj.weight")
    out = CliRunner().invoke(app, ["export", str(tmp_path / "plan.json"), "--to", "lora"])
    assert out.exit_code == 0, out.output
    assert re.fullmatch(yaml.safe_load(out.output)["target_modules"], "model.layers.0.mlp.up_proj")
    wrong = CliRunner().invoke(app, ["export", str(tmp_path / "plan.json"), "--to", "excel"])
    assert "Expected --to one of" in str(wrong.exception)


def test_a_skeleton_holds_no_weights(model_folder):
    from securetune.models.loading import ModelConfig, load_skeleton

    assert {p.device for p in load_skeleton(ModelConfig(path=str(model_folder))).parameters()} == {torch.device("meta")}
