"""Adapters: every parameter trains at the multiplier of the weight that it changes, whatever wraps that weight."""

import logging

import pytest
import torch
from peft import (
    AdaLoraConfig,
    BOFTConfig,
    FourierFTConfig,
    IA3Config,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    OFTConfig,
    PromptTuningConfig,
    VBLoRAConfig,
    VeraConfig,
    get_peft_model,
)
from transformers import Trainer

from securetune.defences import DEFENCES
from securetune.defences.base.run import TrainingRun
from securetune.errors import ConfigError, PlanError
from securetune.models.adapters import targets
from securetune.models.reading import read_topology
from securetune.models.tensors import plain
from securetune.models.topology import ModuleRef, ModuleSet
from securetune.plans.plan import Entry, Plan, PlanModel, module_entries, plan_of, rest
from securetune.train.attach import PlanCallback, attach
from tests.contract.test_families import build
from tests.golden.test_attach import hand_plan, plain_trainer, weights

SOME = {"target_modules": ["q_proj", "down_proj"]}
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
ADAPTERS = {
    "IA3": ("llama", IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])),
    "OFT": ("llama", OFTConfig(oft_block_size=8, **SOME)),
    "BOFT": ("llama", BOFTConfig(boft_block_size=8, **SOME)),
    "LoHa": ("llama", LoHaConfig(r=2, **SOME)),
    "LoKr": ("llama", LoKrConfig(r=2, **SOME)),
    "VeRA": ("llama", VeraConfig(r=2, target_modules=["q_proj", "o_proj"])),
    "AdaLoRA": ("llama", AdaLoraConfig(total_step=10, **SOME)),
    "FourierFT": ("llama", FourierFTConfig(n_frequency=10, **SOME)),
    "DoRA": ("llama", LoraConfig(r=2, use_dora=True, **SOME)),
    "copies": ("llama", LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["mlp"])),
    "mixtral": ("mixtral", LoraConfig(r=2, target_modules="all-linear")),
    "qwen3_moe": ("qwen3_moe", LoraConfig(r=2, target_modules="all-linear")),
    "one of the experts": ("mixtral", LoraConfig(r=2, target_modules=["q_proj"], target_parameters=EXPERTS[1:])),
    "gpt_oss": ("gpt_oss", LoraConfig(r=2, target_modules="all-linear", target_parameters=EXPERTS)),
}


def adapted(path, tokenizer, family, config, **options):
    """A trainer of a tiny model with an adapter, and the topology that the model had before."""
    model = build(family)
    topology = read_topology(model)
    plain_one = plain_trainer(path, tokenizer, weight_decay=0.0, lr_scheduler_type="constant", **options)
    adapted_model = get_peft_model(model, config)
    return Trainer(model=adapted_model, args=plain_one.args, train_dataset=plain_one.train_dataset), topology


def run_plan(topology, robust, *, rest_lr_mult):
    """A plan as a run makes it: for this topology, its modules by name."""
    model = PlanModel(id="tiny", fingerprint=topology.fingerprint())
    return plan_of("ml_lr", model, topology, robust, rest_lr_mult=rest_lr_mult)


def rates(trainer):
    """Learning rate of every parameter's group."""
    callback = next(c for c in trainer.callback_handler.callbacks if isinstance(c, PlanCallback))
    groups = trainer.create_optimizer().param_groups
    return {
        name: group["lr"] for treatment, group in zip(callback.groups, groups, strict=True) for name in treatment.names
    }


@pytest.mark.parametrize(("family", "config"), ADAPTERS.values(), ids=ADAPTERS)
def test_every_adapter_trains_at_the_rate_of_the_weight_it_wraps(family, config, tmp_path, tokenizer):
    trainer, topology = adapted(tmp_path, tokenizer, family, config)
    assert read_topology(plain(trainer.model)) == topology
    robust = ModuleSet.of(ref for ref in topology.all if ref.layer == 1)
    attach(trainer, run_plan(topology, robust, rest_lr_mult=0.1))
    changed, found = targets(trainer.model), rates(trainer)
    assert found.keys() == {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    scale = {info.weight: 1.0 if ref in robust else 0.1 for ref, info in topology.modules.items()}
    for name, rate in found.items():
        (weight,) = changed[name].weights
        assert rate == pytest.approx(1e-2 * scale.get(weight, 0.1)), name
    assert len(set(found.values())) == 2


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_a_frozen_layer_of_experts_stays_as_it_is_with_its_router(family, tmp_path, tokenizer):
    trainer, topology = adapted(tmp_path, tokenizer, *ADAPTERS[family], max_steps=2)
    frozen = ModuleSet.of(ref for ref in topology.all if ref.layer == 0)
    entries = (*module_entries(frozen, topology, lr_mult=0.0), rest(1.0))
    start = weights(trainer)
    attach(trainer, Plan(method="sppft", model=PlanModel(id="tiny"), entries=entries))
    trainer.train()
    moved = {name for name, value in weights(trainer).items() if not torch.equal(start[name], value)}
    assert any(".layers.1.mlp.experts." in name for name in moved)
    assert not any(".layers.0." in name for name in moved)


def test_a_hand_written_pattern_may_name_the_weight_or_the_adapters_part(tmp_path, tokenizer):
    trainer, _ = adapted(tmp_path, tokenizer, "llama", LoraConfig(r=2, **SOME))
    attach(trainer, hand_plan(Entry(pattern=r"q_proj\.weight$", lr_mult=0.0), Entry(pattern="lora_B", lr_mult=2.0)))
    found = rates(trainer)
    assert not any("q_proj" in name for name in found)
    assert {rate for name, rate in found.items() if "lora_B" in name} == {2e-2}
    assert {rate for name, rate in found.items() if "lora_A" in name} == {1e-2}


def test_biases_of_stacked_experts_belong_to_them():
    model = build("gpt_oss")
    topology = read_topology(model)
    plan = run_plan(topology, ModuleSet.parse(["0.expert_down"]), rest_lr_mult=0.0)
    assert plan.lr_scale("model.layers.0.mlp.experts.down_proj_bias") == (1.0,)
    assert plan.is_frozen("model.layers.0.mlp.experts.gate_up_proj_bias")
    assert plan.is_frozen("model.layers.1.mlp.experts.down_proj_bias")


def test_guarded_tuning_holds_back_the_experts_that_the_plan_holds(tmp_path, tokenizer):
    trainer, topology = adapted(tmp_path, tokenizer, *ADAPTERS["mixtral"])
    robust = ModuleSet.of(ref for ref in topology.all if ref.is_expert)
    plan = run_plan(topology, robust, rest_lr_mult=0.1)
    run = TrainingRun(model=trainer.model, tokenizer=tokenizer, reference=None, plan=plan, total_steps=1)
    sensitive = run.sensitive()
    assert sensitive and not any("experts" in name for name in sensitive)


@pytest.mark.parametrize("name", ["safe_lora", "safe_merge"])
def test_what_compares_adapters_with_the_alignment_refuses_stacked_experts_before_the_first_step(
    name, tmp_path, tokenizer
):
    trainer, topology = adapted(tmp_path, tokenizer, *ADAPTERS["mixtral"])
    plan = run_plan(topology, ModuleSet.of(topology.all), rest_lr_mult=1.0)
    run = TrainingRun(model=trainer.model, tokenizer=tokenizer, reference=None, plan=plan, total_steps=1)
    with pytest.raises(ConfigError, match=r"stacked experts \(.*down_proj.*Leave target_parameters out"):
        DEFENCES.make(name, {}, name).begin(run)


def test_what_is_in_force_is_logged(tmp_path, tokenizer, caplog):
    caplog.set_level(logging.INFO, "securetune")
    trainer, topology = adapted(tmp_path, tokenizer, "llama", LoraConfig(r=2, target_modules="all-linear"))
    attach(trainer, run_plan(topology, ModuleSet.parse(["0.q", "1.up", "2.o"]), rest_lr_mult=0.05))
    assert "The 'ml_lr' plan is in force: 3 modules at x1, 18 at x0.05; 6 parameters at x1, 36 at x0.05." in caplog.text


def test_lora_on_two_roles_goes_on_and_says_what_is_not_trained(tmp_path, tokenizer, caplog):
    caplog.set_level(logging.INFO, "securetune")
    trainer, topology = adapted(
        tmp_path, tokenizer, "llama", LoraConfig(r=2, target_modules=["q_proj", "v_proj"]), max_steps=1
    )
    attach(trainer, run_plan(topology, ModuleSet.parse(["0.q", "1.v", "0.up"]), rest_lr_mult=0.05))
    trainer.train()
    assert "2 modules at x1, 4 at x0.05" in caplog.text
    assert (
        "Not trained, as no adapter or trainable weight is there: down of 3 layers, gate of 3 layers, k of 3"
        in caplog.text
    )
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "securetune.train.coverage"
                  and record.levelno == logging.WARNING]  # fmt: skip
    assert warning.startswith("1 of the 3 modules that the 'ml_lr' plan trains most have nothing to train: 0.up.")


def test_an_adapter_of_the_robust_modules_alone_goes_on(tmp_path, tokenizer):
    only = LoraConfig(r=2, target_modules=r".*layers\.(0\.self_attn\.q|2\.mlp\.up)_proj")
    trainer, topology = adapted(tmp_path, tokenizer, "llama", only)
    attach(trainer, run_plan(topology, ModuleSet.parse(["0.q", "2.up"]), rest_lr_mult=0.05))


def test_experts_without_an_adapter_are_told_loudly(tmp_path, tokenizer, caplog):
    lora = LoraConfig(r=2, target_modules="all-linear")
    trainer, topology = adapted(tmp_path, tokenizer, "gpt_oss", lora)
    experts = ModuleSet.of(ref for ref in topology.all if ref.is_expert)
    attach(trainer, run_plan(topology, experts | ModuleSet.parse(["0.q"]), rest_lr_mult=0.1))
    assert (
        "6 of the 7 modules that the 'ml_lr' plan trains most have nothing to train: expert_down of 3 layers"
        in caplog.text
    )
    assert f"target_parameters={sorted(EXPERTS)}" in caplog.text
    other, _ = adapted(tmp_path, tokenizer, "gpt_oss", lora)
    with pytest.raises(PlanError, match=r"trains most, at x1, found nothing in its 6 modules.*target_parameters="):
        attach(other, run_plan(topology, experts, rest_lr_mult=0.1))


@pytest.mark.parametrize("lr_mult", [1.0, 0.05])
def test_a_single_module_without_anything_to_train_is_named(lr_mult, tmp_path, tokenizer):
    trainer, topology = adapted(tmp_path, tokenizer, "llama", LoraConfig(r=2, target_modules="all-linear"))
    for name, parameter in trainer.model.named_parameters():
        if "layers.1.self_attn.v_proj" in name:
            parameter.requires_grad_(False)
    robust = ModuleSet.parse(["0.q", "0.v", *(["1.v"] if lr_mult == 1 else [])])
    with pytest.raises(PlanError, match=r"found nothing in 1\.v, though their layers and roles have it elsewhere"):
        attach(trainer, run_plan(topology, robust, rest_lr_mult=0.05))
    assert trainer.optimizer_cls_and_kwargs is None
    robust = ModuleSet.of(ref for ref in topology.all if ref != ModuleRef(1, "v"))
    attach(trainer, run_plan(topology, robust, rest_lr_mult=0.0))


def test_a_prompt_of_vectors_is_no_module_to_train(tmp_path, tokenizer):
    config = PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    trainer, topology = adapted(tmp_path, tokenizer, "llama", config)
    with pytest.raises(PlanError, match="trains most, at x1, found nothing in its 1 modules: 0.q"):
        attach(trainer, run_plan(topology, ModuleSet.parse(["0.q"]), rest_lr_mult=0.05))


def test_a_part_that_modules_with_different_rates_share_is_refused(tmp_path, tokenizer):
    trainer, topology = adapted(tmp_path, tokenizer, "llama", VBLoRAConfig(num_vectors=8, vector_length=8, **SOME))
    with pytest.raises(PlanError, match=r"vblora_vector_bank.*shared by .*q_proj.weight \(x1\) and .*\(x0.1\)"):
        attach(trainer, run_plan(topology, ModuleSet.parse(["0.q"]), rest_lr_mult=0.1))
    attach(trainer, run_plan(topology, topology.all, rest_lr_mult=0.1))
