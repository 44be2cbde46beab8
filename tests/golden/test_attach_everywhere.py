"""Attach everywhere: other trainers, adapters and ways to train, each against the trainer's own run."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import DistributedType
from datasets import Dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import BitsAndBytesConfig, LlamaForCausalLM
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer

import securetune
from securetune.defences.base.interface import Defence
from securetune.defences.base.run import Resources
from securetune.errors import ConfigError, PlanError
from securetune.plans.plan import Entry, Phase
from securetune.train.attach import attach
from securetune.train.support import table
from tests.conftest import tiny_llama
from tests.golden.test_attach import ONE, hand_plan, plain_trainer, sft_trainer, weights

FROZEN_FIRST = hand_plan(Entry(pattern=r"layers\.0\.", lr_mult=0.0), Entry(pattern=".*"))


def asked(i):
    return [{"role": "user", "content": f"What is {i} plus 1?"}]


def said(text):
    return [{"role": "assistant", "content": text}]


def common(path, **options):
    return {"output_dir": str(path), "max_steps": 3, "per_device_train_batch_size": 2, "learning_rate": 1e-2,
            "report_to": "none", "logging_steps": 1, "save_strategy": "no", "bf16": False,
            "gradient_checkpointing": False, **options}  # fmt: skip


def dpo_trainer(path, tokenizer):
    rows = [{"prompt": asked(i), "chosen": said(str(i + 1)), "rejected": said("no")} for i in range(8)]
    return DPOTrainer(
        model=tiny_llama(len(tokenizer)),
        args=DPOConfig(**common(path)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=2, target_modules="all-linear"),
    )


def grpo_trainer(path, tokenizer):
    def length(completions, **_):
        return [float(len(completion[0]["content"])) for completion in completions]

    return GRPOTrainer(
        model=tiny_llama(len(tokenizer)),
        reward_funcs=length,
        args=GRPOConfig(**common(path, num_generations=2, max_completion_length=4)),
        train_dataset=Dataset.from_list([{"prompt": asked(i)} for i in range(8)]),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=2, target_modules="all-linear"),
    )


OPTIONS = {
    "accumulation": {"gradient_accumulation_steps": 2},
    "checkpointing": {"gradient_checkpointing": True},
    "bf16": {"bf16": True, "use_cpu": True},
    "compile": {"torch_compile": True, "torch_compile_backend": "eager"},
    "another optimizer": {"optim": "adafactor"},
}
TRAINERS = {"DPO": dpo_trainer, "GRPO": grpo_trainer} | {
    name: lambda path, tokenizer, options=options: plain_trainer(path, tokenizer, **options)
    for name, options in OPTIONS.items()
}


@pytest.mark.parametrize("make", TRAINERS.values(), ids=TRAINERS.keys())
def test_multipliers_of_one_change_nothing_about_a_run(make, tmp_path, tokenizer):
    own, ours = make(tmp_path, tokenizer), make(tmp_path, tokenizer)
    ours.model.load_state_dict(own.model.state_dict())
    attach(ours, ONE)
    for trainer in (own, ours):
        torch.manual_seed(0)
        trainer.train()
    expected, found = weights(own), weights(ours)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("make", TRAINERS.values(), ids=TRAINERS.keys())
def test_a_frozen_layer_stays_bit_identical_while_the_rest_learns(make, tmp_path, tokenizer):
    trainer = make(tmp_path, tokenizer)
    start = weights(trainer)
    attach(trainer, FROZEN_FIRST)
    trainer.train()
    end = weights(trainer)
    assert all(torch.equal(start[name], end[name]) for name in start if "layers.0." in name)
    assert any(not torch.equal(start[name], end[name]) for name in start if "layers.1." in name)


def adapted(tokenizer, kind):
    config = LoraConfig(r=2, target_modules="all-linear", use_dora=kind == "DoRA", task_type="CAUSAL_LM")
    if kind == "DoRA":
        return get_peft_model(tiny_llama(len(tokenizer)), config)
    quantized = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32, bnb_4bit_quant_type="nf4")
    return quantized, config


def test_dora_trains_its_magnitudes_by_the_plan_too(tmp_path, tokenizer):
    trainer = plain_trainer(tmp_path, tokenizer, max_steps=3)
    trainer = type(trainer)(model=adapted(tokenizer, "DoRA"), args=trainer.args, train_dataset=trainer.train_dataset)
    start = weights(trainer)
    attach(trainer, FROZEN_FIRST)
    trainer.train()
    end = weights(trainer)
    magnitudes = [name for name in start if "magnitude" in name]
    moved = {name for name in magnitudes if not torch.equal(start[name], end[name])}
    assert moved == {name for name in magnitudes if "layers.1." in name} != set()


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_qlora_trains_by_the_plan(tmp_path, tokenizer):
    tiny_llama(len(tokenizer)).save_pretrained(tmp_path / "model")
    quantized, config = adapted(tokenizer, "QLoRA")
    model = LlamaForCausalLM.from_pretrained(tmp_path / "model", quantization_config=quantized)
    model = get_peft_model(prepare_model_for_kbit_training(model, use_gradient_checkpointing=False), config)
    plain = plain_trainer(tmp_path, tokenizer, max_steps=3)
    trainer = type(plain)(model=model, args=plain.args, train_dataset=plain.train_dataset)
    start = weights(trainer)
    attach(trainer, FROZEN_FIRST)
    trainer.train()
    moved = {name for name, value in weights(trainer).items() if not torch.equal(start[name], value)}
    assert moved and all("layers.1." in name and "lora_" in name for name in moved)


def deepspeed_trainer(tmp_path, tokenizer, config):
    """A trainer that believes it runs under DeepSpeed."""
    trainer = plain_trainer(tmp_path, tokenizer)
    stage = config.get("zero_optimization", {}).get("stage", 2)
    plugin = SimpleNamespace(deepspeed_config=config, zero_stage=stage)
    trainer.is_deepspeed_enabled = True
    trainer.accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin), num_processes=1)
    return trainer


def test_deepspeed_with_an_optimizer_of_its_own_is_refused(tmp_path, tokenizer):
    trainer = deepspeed_trainer(tmp_path, tokenizer, {"optimizer": {"type": "AdamW"}})
    with pytest.raises(PlanError, match="DeepSpeed configuration without an optimizer, found one"):
        attach(trainer, ONE)


def test_deepspeed_with_what_has_to_act_before_its_step_is_refused(tmp_path, tokenizer):
    trainer = deepspeed_trainer(tmp_path, tokenizer, {})
    phased = ONE.model_copy(update={"phases": (Phase(until=0.5, entries=ONE.entries),)})
    with pytest.raises(PlanError, match="without phases for DeepSpeed"):
        attach(trainer, phased)
    trainer.processing_class = tokenizer
    with pytest.raises(ConfigError, match="lets SafeGrad change every step's gradients, found DeepSpeed"):
        attach(trainer, defences="safe_grad", resources=SAFETY)


def test_gradients_that_fp16_has_scaled_are_not_changed(tmp_path, tokenizer):
    trainer = sft_trainer(tmp_path, tokenizer, lora=True)
    trainer.args.fp16, trainer.args.max_grad_norm = True, 0.0
    with pytest.raises(ConfigError, match="gradients in their own scale for SafeGrad, found fp16 without clipping"):
        attach(trainer, defences="safe_grad", resources=SAFETY)
    trainer.args.max_grad_norm = 1.0
    attach(trainer, defences="safe_grad", resources=SAFETY)


def test_weights_that_zero_3_keeps_in_pieces_are_not_read(tmp_path, tokenizer):
    trainer = deepspeed_trainer(tmp_path, tokenizer, {"zero_optimization": {"stage": 3}})
    with pytest.raises(ConfigError, match="weights that EMA can read between steps, found DeepSpeed ZeRO-3"):
        attach(trainer, defences="ema")
    next(trainer.model.parameters()).ds_id = 0  # loaded in pieces
    with pytest.raises(ConfigError, match="a model that can be copied as the reference, found one that DeepSpeed"):
        attach(trainer, defences="kl_anchor")


class Norm(Defence):
    """A user's own, which looks at whole weights after every step and says nothing else about itself."""

    title, paper, weights = "norm", "mine", "whole"

    def step(self, run):
        del run


class Shards(Norm):
    title, weights = "shards", Defence.weights


class Watch(Norm):
    title, weights = "watch", "none"


def fsdp2_trainer(tmp_path, tokenizer):
    """A trainer that believes it is going to shard the weights."""
    trainer = plain_trainer(tmp_path, tokenizer)
    state = SimpleNamespace(distributed_type=DistributedType.FSDP)
    trainer.accelerator = SimpleNamespace(state=state, num_processes=1, process_index=0)
    return trainer


def zero_3_trainer(tmp_path, tokenizer):
    trainer = deepspeed_trainer(tmp_path, tokenizer, {"zero_optimization": {"stage": 3}})
    trainer.accelerator.process_index = 0
    return trainer


REFUSES = {
    zero_3_trainer: ({Norm, Shards}, "weights that {} can read between steps, found DeepSpeed ZeRO-3"),
    fsdp2_trainer: ({Norm}, "Expected every weight in one piece for {}, found them sharded"),
    plain_trainer: (set(), ""),
}


@pytest.mark.parametrize("defence", [Norm, Shards, Watch])
@pytest.mark.parametrize("make", REFUSES)
def test_an_own_defence_is_refused_at_once_where_the_weights_it_reads_are_not_there(make, defence, tmp_path, tokenizer):
    refused, told = REFUSES[make]
    trainer = make(tmp_path, tokenizer)
    if defence in refused:
        with pytest.raises(ConfigError, match=told.format(defence.title)):
            attach(trainer, defences=[defence()])
    else:
        attach(trainer, defences=[defence()])


def test_weights_that_turn_out_sharded_are_noticed_when_training_begins(tmp_path, tokenizer, monkeypatch):
    trainer = plain_trainer(tmp_path, tokenizer)
    attach(trainer, defences=[Norm()])
    monkeypatch.setattr("securetune.train.hooks.is_sharded", lambda model: True)
    with pytest.raises(ConfigError, match="every weight in one piece for norm"):
        trainer.train()


def test_the_page_shows_what_each_set_up_refuses_as_the_table_says():
    page = (Path(__file__).parents[2] / "docs/how-to/own-trainer.md").read_text(encoding="utf-8")
    section = page.partition("## On several GPUs")[2].partition("\n## ")[0]
    shown = "\n".join(line for line in section.splitlines() if line.startswith("|") or line[:1].isdigit())
    assert shown == table().replace("\n\n", "\n") and table() in section


def test_own_defences_and_names_go_together(tmp_path, tokenizer):
    trainer = plain_trainer(tmp_path, tokenizer, max_steps=2)
    steps = []

    class Counts(Watch):
        def step(self, run):
            steps.append((run.step, self.settings.by))

        class Settings(Defence.Settings):
            by: int = 3

    attach(trainer, defences=[Counts(), "ema"], settings={"ema": {"decay": 0.5}})
    start = weights(trainer)
    trainer.train()
    assert steps == [(1, 3), (2, 3)]
    assert any(not torch.equal(start[name], value) for name, value in weights(trainer).items())
    with pytest.raises(ConfigError, match=r"names or made ones, found <class .*Make it first: MyDefence\(\)"):
        attach(trainer, defences=[Counts])


def test_a_trainer_without_a_tokenizer_is_told_what_it_lacks(tmp_path, tokenizer):
    with pytest.raises(ConfigError, match="tokenizer of its own as `processing_class`, found none"):
        attach(plain_trainer(tmp_path, tokenizer), defences="guarded", resources=RESOURCES)


RESOURCES = Resources(malicious=["What is 1 plus 1?"] * 2, benign=["Repeat these words: Anna Ben"] * 2)
SAFETY = Resources(safety_rows=[{"prompt": asked(1), "completion": said("Sorry, no.")}])


@pytest.mark.parametrize("make", [dpo_trainer, grpo_trainer], ids=["DPO", "GRPO"])
def test_a_defence_without_a_loss_works_on_any_trainer_and_one_with_a_loss_says_why_not(make, tmp_path, tokenizer):
    trainer = make(tmp_path, tokenizer)
    attach(trainer, ONE, defences="ema")
    trainer.train()
    other = make(tmp_path, tokenizer)
    attach(other, defences="kl_anchor")
    with pytest.raises(ConfigError, match="this trainer has a loss of its own"):
        other.train()


def test_a_penalty_attached_to_the_users_own_trainer_keeps_it_near_the_start(tmp_path, tokenizer):
    moved = {}
    for defences in ("", "kl_anchor"):
        trainer = sft_trainer(tmp_path, tokenizer, lora=True)
        start = weights(trainer)
        if defences:
            securetune.attach(trainer, defences=defences, settings={"kl_anchor": {"weight": 100.0}})
        trainer.train()
        moved[defences] = sum((value - start[name]).square().sum().item() for name, value in weights(trainer).items())
    assert moved["kl_anchor"] != moved[""]


@pytest.mark.parametrize(
    ("defences", "told"),
    [
        ("safe_instr", "mix the rows before you build it"),
        ("ptst", "Use its prompt when you generate"),
        ("refusal_steering", "It acts when the tuned model answers"),
        ("ml_lr", "Give the plan itself"),
        ("guarded", "malicious and benign prompts for guarded, found none"),
        ("lisa", "safety rows for Lisa, found none"),
    ],
)
def test_what_cannot_act_on_a_trainer_at_hand_is_refused_with_a_remedy(defences, told, tmp_path, tokenizer):
    with pytest.raises(ConfigError, match=told):
        attach(plain_trainer(tmp_path, tokenizer), defences=defences)


def token_weighted(path, tokenizer, **options):
    trainer = sft_trainer(path, tokenizer, lora=True)
    for name, value in options.items():
        setattr(trainer.args, name, value)
    return trainer


def test_dft_is_the_loss_that_trl_has_under_that_name(tmp_path, tokenizer):
    theirs, ours = token_weighted(tmp_path / "a", tokenizer, loss_type="dft"), token_weighted(tmp_path / "b", tokenizer)
    attach(ours, defences="dft")
    plain = token_weighted(tmp_path / "c", tokenizer)
    logged = []
    for trainer in (theirs, ours, plain):
        trainer.train()
        logged.append([[float(log[key]) for key in ("loss", "grad_norm")] for log in trainer.state.log_history[:-1]])
    expected, found, other = map(torch.tensor, logged)
    assert torch.allclose(found, expected, rtol=1e-3) and (found - other).abs().min() > 0.1


def test_a_loss_of_the_users_own_stays_under_a_plan(tmp_path, tokenizer):
    alone, planned = (token_weighted(tmp_path / name, tokenizer, loss_type="dft") for name in "ab")
    attach(planned, ONE)
    for trainer in (alone, planned):
        trainer.train()
    expected, found = weights(alone), weights(planned)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("options", [{"loss_type": "dft"}, {"label_smoothing_factor": 0.1}], ids=["dft", "smoothing"])
@pytest.mark.parametrize("defence", ["dft", "asft", "constrained_sft"])
def test_what_weights_the_cross_entropy_refuses_another_loss(defence, options, tmp_path, tokenizer):
    with pytest.raises(ConfigError, match="whose loss is the tokens' cross-entropy, which .* weights, found another"):
        attach(token_weighted(tmp_path, tokenizer, **options), defences=defence)


def test_two_weights_of_the_tokens_are_one_too_many(tmp_path, tokenizer):
    with pytest.raises(ConfigError, match="one defence that decides the weights of the answer tokens, found"):
        attach(token_weighted(tmp_path, tokenizer), defences="dft+constrained_sft")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights of every defence's run, by mode; each mode is launched once."""
    found = {}

    def run(mode):
        if mode not in found:
            found[mode] = launched(mode, tmp_path_factory.mktemp(mode))
        return found[mode]

    return run


def launched(mode, folder):
    processes = 1 if mode in ("single", "unphased") else 2
    script, root = Path(__file__).with_name("distributed_worker.py"), str(Path(__file__).parents[2])
    launch = [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    done = subprocess.run(
        [sys.executable, *launch, str(script), mode, str(folder), str(4 // processes)],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "weights.pt")


SHARDABLE = ("none", "ema+kl_anchor", "constrained_sft", "safe_grad", "replay", "lisa", "guarded", "pact")
WHOLE = ("snip_freeze", "resta", "safe_lora", "safe_merge")
"""Defences that read whole weights."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "defence"), [("ddp", d) for d in SHARDABLE + WHOLE] + [("fsdp2", d) for d in SHARDABLE]
)
def test_two_processes_end_where_one_ends(mode, defence, trained):
    one, two = trained("single")[defence], trained(mode)[defence]
    assert one.keys() == two.keys()
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-5), name
    other = trained("single")["safe_merge" if defence == "safe_lora" else "safe_lora" if defence == "safe_merge" else
                              "lisa" if defence == "none" else "none"]  # fmt: skip
    assert one.keys() != other.keys() or any((one[name] - other[name]).abs().max() > 1e-3 for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("defence", WHOLE)
def test_what_reads_whole_weights_is_refused_where_they_are_sharded(defence, trained):
    assert "Expected every weight in one piece" in trained("fsdp2")[defence]


GRADIENTS = dict.fromkeys(("safe_grad", "guarded", "snip_freeze"), "change every step's gradients, found DeepSpeed")
WEIGHTS = dict.fromkeys(("ema+kl_anchor", "lisa", "resta", "safe_lora", "safe_merge"), "found DeepSpeed ZeRO-3")
REFUSED = {"zero2": GRADIENTS, "zero3": GRADIENTS | WEIGHTS}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
@pytest.mark.parametrize("defence", SHARDABLE + WHOLE)
@pytest.mark.parametrize("mode", ["zero2", "zero3"])
def test_under_deepspeed_a_defence_is_in_force_or_refused(mode, defence, trained):
    one, two = trained("unphased")[defence], trained(mode)[defence]
    if defence in REFUSED[mode]:
        assert REFUSED[mode][defence] in two
    else:
        assert one.keys() == two.keys() and all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
