"""Golden: training with a plan against the trainer's own training."""

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import Adafactor, Trainer, TrainerCallback, TrainingArguments
from trl import SFTConfig, SFTTrainer

from securetune.defences.base.interface import Defence
from securetune.defences.base.needs import REFERENCE
from securetune.defences.none import NoDefence
from securetune.errors import ConfigError, PlanError, RegistryError, TrainingError
from securetune.models.reading import read_topology
from securetune.models.topology import ModuleSet
from securetune.plans.plan import Entry, Phase, Plan, PlanModel, plan_of
from securetune.train.attach import attach
from tests.conftest import tiny_llama

STEPS = 4


def hand_plan(*entries, phases=()):
    return Plan(method="test", model=PlanModel(id="tiny"), entries=entries, phases=phases)


ONE = hand_plan(Entry(pattern="q_proj", lr_mult=1.0), Entry(pattern=".*", lr_mult=1.0))


def plain_trainer(tmp_path, tokenizer, **options):
    rows = [{"input_ids": list(range(5 + i, 15 + i)), "labels": list(range(5 + i, 15 + i))} for i in range(16)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        report_to="none",
        logging_steps=1,
        **{"max_steps": STEPS, "save_strategy": "no", "weight_decay": 0.1, **options},
    )
    return Trainer(model=tiny_llama(len(tokenizer)), args=arguments, train_dataset=Dataset.from_list(rows))


def sft_trainer(tmp_path, tokenizer, *, lora):
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What is {i} plus 1?"}],
            "completion": [{"role": "assistant", "content": str(i + 1)}],
        }
        for i in range(16)
    ]
    arguments = SFTConfig(
        output_dir=str(tmp_path),
        max_steps=STEPS,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        weight_decay=0.1,
        report_to="none",
        logging_steps=1,
        save_strategy="no",
        bf16=False,
        gradient_checkpointing=False,
    )
    torch.manual_seed(0)
    return SFTTrainer(
        model=tiny_llama(len(tokenizer)),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=2, target_modules="all-linear") if lora else None,
    )


MAKERS = {
    "Trainer": plain_trainer,
    "SFTTrainer full": lambda path, tokenizer: sft_trainer(path, tokenizer, lora=False),
    "SFTTrainer LoRA": lambda path, tokenizer: sft_trainer(path, tokenizer, lora=True),
}


def weights(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_multipliers_of_one_equal_the_trainers_own_weights_bit_for_bit(make, tmp_path, tokenizer):
    own, ours = make(tmp_path, tokenizer), make(tmp_path, tokenizer)
    start = weights(own)
    attach(ours, ONE)
    own.train()
    ours.train()
    expected, found = weights(own), weights(ours)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert any(not torch.equal(start[name], expected[name]) for name in start), "training must change something"


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_multiplier_zero_leaves_modules_bit_identical_and_trains_the_rest(make, tmp_path, tokenizer):
    trainer = make(tmp_path, tokenizer)
    start = weights(trainer)
    attach(trainer, hand_plan(Entry(pattern=r"layers\.0\.", lr_mult=0.0), Entry(pattern=".*")))
    trainer.train()
    end = weights(trainer)
    frozen = [name for name in start if "layers.0." in name]
    assert frozen and all(torch.equal(start[name], end[name]) for name in frozen)
    moved = [name for name in start if "layers.1." in name and not torch.equal(start[name], end[name])]
    assert moved


def test_small_multiplier_equals_an_adam_step_of_the_scaled_rate(tmp_path, tokenizer):
    trainer = plain_trainer(tmp_path, tokenizer, max_steps=1, weight_decay=0.0, lr_scheduler_type="constant")
    start = weights(trainer)
    attach(trainer, hand_plan(Entry(pattern="v_proj", lr_mult=0.1), Entry(pattern=".*")))
    trainer.train()
    # Adam's first step moves every entry with a gradient by the learning rate itself.
    steps = {name: (p - start[name]).abs().max().item() for name, p in weights(trainer).items()}
    assert steps["model.layers.0.self_attn.v_proj.weight"] == pytest.approx(1e-3, rel=1e-2)
    assert steps["model.layers.0.self_attn.o_proj.weight"] == pytest.approx(1e-2, rel=1e-2)


def test_swat_warm_up_holds_the_rest_still_then_trains_everything(tmp_path, tokenizer):
    phase = Phase(until=0.5, entries=(Entry(pattern=r"layers\.1\."), Entry(pattern=".*", lr_mult=0.0)))
    seen = []

    class Recorder(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **_):
            seen.append({n: p.detach().clone() for n, p in model.named_parameters()})

    trainer = plain_trainer(tmp_path, tokenizer)
    start = weights(trainer)
    attach(trainer, hand_plan(Entry(pattern=".*"), phases=(phase,)))
    trainer.add_callback(Recorder())
    trainer.train()
    first, second = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj.weight"
    assert torch.equal(seen[1][first], start[first]) and not torch.equal(seen[0][second], start[second])
    assert not torch.equal(seen[2][first], start[first])


def test_every_groups_rate_is_logged(tmp_path, tokenizer):
    trainer = plain_trainer(tmp_path, tokenizer, lr_scheduler_type="constant")
    attach(trainer, hand_plan(Entry(pattern="q_proj"), Entry(pattern=".*", lr_mult=0.1)))
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert logged["lr/x1"] == pytest.approx(1e-2)
    assert logged["lr/x0.1"] == pytest.approx(1e-3)
    assert logged["lr/x0.1_no_decay"] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    "plan",
    [
        hand_plan(Entry(pattern="q_proj"), Entry(pattern=".*", lr_mult=0.1)),
        hand_plan(
            Entry(pattern=".*"),
            phases=(Phase(until=0.7, entries=(Entry(pattern="q_proj"), Entry(pattern=".*", lr_mult=0.0))),),
        ),
    ],
    ids=["ml_lr", "swat"],
)
def test_resume_from_a_checkpoint_equals_an_uninterrupted_run(plan, tmp_path, tokenizer):
    options = {"save_strategy": "steps", "save_steps": 2}
    whole = plain_trainer(tmp_path / "whole", tokenizer, **options)
    attach(whole, plan)
    whole.train()
    resumed = plain_trainer(tmp_path / "resumed", tokenizer, **options)
    attach(resumed, plan)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    expected, found = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path, tokenizer):
    with pytest.raises(PlanError, match="'nowhere' to match a parameter"):
        attach(plain_trainer(tmp_path, tokenizer), hand_plan(Entry(pattern="nowhere")))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_a_plan_fits_its_own_model_with_and_without_adapters_and_no_other(make, tmp_path, tokenizer):
    plans = []
    for layers in (2, 3):
        topology = read_topology(tiny_llama(len(tokenizer), layers=layers))
        model = PlanModel(id="tiny", fingerprint=topology.fingerprint())
        plans.append(plan_of("test", model, topology, ModuleSet.parse(["0.q"]), rest_lr_mult=0.1))
    attach(make(tmp_path, tokenizer), plans[0])
    with pytest.raises(PlanError, match="Expected the model this plan was made for"):
        attach(make(tmp_path, tokenizer), plans[1])


def test_a_plan_that_leaves_nothing_to_train_is_an_error(tmp_path, tokenizer):
    with pytest.raises(PlanError, match="leave something to train"):
        attach(plain_trainer(tmp_path, tokenizer), hand_plan(Entry(pattern=".*", lr_mult=0.0)))


def test_an_optimizer_made_before_is_an_error(tmp_path, tokenizer):
    trainer = plain_trainer(tmp_path, tokenizer)
    trainer.create_optimizer()
    with pytest.raises(PlanError, match="without an optimizer"):
        attach(trainer, ONE)


def test_replacing_the_optimizer_after_attach_is_noticed(tmp_path, tokenizer):
    trainer = plain_trainer(tmp_path, tokenizer)
    attach(trainer, ONE)
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=1e-3)
    with pytest.raises(PlanError, match="not in force"):
        trainer.train()


def own_optimizer_trainer(tmp_path, tokenizer, optimizer, **options):
    trainer = plain_trainer(tmp_path, tokenizer, lr_scheduler_type="constant", weight_decay=0.0, **options)
    trainer.optimizer_cls_and_kwargs = optimizer
    return trainer


@pytest.mark.parametrize("options", [{"lr": 0.3, "momentum": 0.9}, {}], ids=["a rate of its own", "the class's rate"])
def test_the_users_own_optimizer_is_kept_with_its_settings(options, tmp_path, tokenizer):
    own, ours = (own_optimizer_trainer(tmp_path, tokenizer, (torch.optim.SGD, options)) for _ in range(2))
    attach(ours, ONE)
    own.train()
    ours.train()
    assert type(ours.optimizer.optimizer) is torch.optim.SGD
    expected, found = weights(own), weights(ours)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_multipliers_are_put_on_the_rate_of_the_users_own_optimizer(tmp_path, tokenizer):
    trainer = own_optimizer_trainer(tmp_path, tokenizer, (torch.optim.SGD, {"lr": 0.3}), max_steps=1)
    attach(trainer, hand_plan(Entry(pattern="v_proj", lr_mult=0.1), Entry(pattern=".*")))
    trainer.train()
    found = sorted({group["lr"] for group in trainer.optimizer.param_groups})
    assert found == [pytest.approx(0.03), pytest.approx(0.3)]


@pytest.mark.parametrize(
    ("optimizer", "match"),
    [
        ((torch.optim.SGD, {"params": []}), "takes the plan's parameter groups, found SGD, which makes groups"),
        ((torch.optim.SGD, {"optimizer_dict": {}}), "takes the plan's parameter groups, found SGD"),
        ((lambda: None, {}), "takes the plan's parameter groups, found <lambda>"),
        ("galore_adamw", "takes the plan's parameter groups, found galore_adamw, which .* such as adamw_torch"),
        ("galore_adamw_layerwise", "found galore_adamw_layerwise, which makes groups"),
        ("apollo_adamw", "found apollo_adamw, which makes groups"),
        ("lomo", "found lomo, which makes groups"),
        ("adalomo", "found adalomo, which makes groups"),
    ],
)
def test_an_optimizer_that_makes_its_own_groups_is_refused_at_once(optimizer, match, tmp_path, tokenizer):
    if isinstance(optimizer, str):
        trainer = plain_trainer(tmp_path, tokenizer, optim=optimizer)
    else:
        trainer = own_optimizer_trainer(tmp_path, tokenizer, optimizer)
    with pytest.raises(PlanError, match=match):
        attach(trainer, ONE)


def test_what_changes_gradients_is_refused_where_the_backward_pass_steps(tmp_path, tokenizer):
    trainer = plain_trainer(tmp_path, tokenizer, optim="lomo")
    with pytest.raises(ConfigError, match="lets SafeGrad change every step's gradients, found lomo, which steps in"):
        attach(trainer, defences="safe_grad")


def test_an_optimizer_without_a_rate_is_refused(tmp_path, tokenizer):
    options = {"lr": None, "relative_step": True, "scale_parameter": False}
    trainer = own_optimizer_trainer(tmp_path, tokenizer, (Adafactor, options))
    attach(trainer, ONE)
    with pytest.raises(PlanError, match="an optimizer with a learning rate, found Adafactor without one"):
        trainer.train()


def test_an_8_bit_optimizer_keeps_its_exception_for_embeddings(tmp_path, tokenizer):
    optim = pytest.importorskip("bitsandbytes").optim
    manager = optim.GlobalOptimManager.get_instance()
    trainer = own_optimizer_trainer(tmp_path, tokenizer, (optim.AdamW, {"lr": 1e-2, "optim_bits": 8}))
    attach(trainer, ONE)
    manager.module_weight_config_triple.clear()
    trainer.create_optimizer()
    assert (trainer.model.model.embed_tokens, "weight", {"optim_bits": 32}) in manager.module_weight_config_triple


SLOW_Q = hand_plan(Entry(pattern="q_proj"), Entry(pattern=".*", lr_mult=0.1))


@pytest.mark.parametrize(
    ("before", "options", "match"),
    [
        (
            hand_plan(Entry(pattern="q_proj"), Entry(pattern=".*", lr_mult=0.5)),
            {},
            r"parameters such as model\.embed_tokens\.weight were trained at x0\.1, found x0\.5.*Resume with the plan",
        ),
        (
            hand_plan(Entry(pattern="k_proj"), Entry(pattern=".*", lr_mult=0.1)),
            {},
            r"the plan's 3 parameter groups, found 3 that hold other parameters",
        ),
        (hand_plan(Entry(pattern=".*", lr_mult=0.1)), {}, r"the plan's 3 parameter groups, found 2 that hold other"),
        (None, {}, "written with another plan or without one"),
        (SLOW_Q, {"weight_decay": 0.2}, r"weight decay 0\.1 for x0\.1, found 0\.2"),
    ],
    ids=["other rates", "other members", "other groups", "no plan", "another decay"],
)
def test_a_checkpoint_of_another_plan_is_refused(before, options, match, tmp_path, tokenizer):
    first = plain_trainer(tmp_path, tokenizer, max_steps=2, save_strategy="steps", save_steps=1, **options)
    if before is not None:
        attach(first, before)
    first.train()
    resumed = plain_trainer(tmp_path, tokenizer)
    attach(resumed, SLOW_Q)
    with pytest.raises(PlanError, match=match):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


@pytest.mark.parametrize("options", [{}, {"settings": {}}, {"defences": []}])
def test_attaching_nothing_is_refused(options, tmp_path, tokenizer):
    with pytest.raises(ConfigError, match="Expected a plan or defences to attach, found neither. Give a plan"):
        attach(plain_trainer(tmp_path, tokenizer), **options)


def test_a_baseline_without_a_hook_is_refused(tmp_path, tokenizer):
    found = f"found {NoDefence.title}, which has nothing to do there. Leave it out"
    for defences, message in (("none", found), ("none+ema", "`none` adds nothing to others")):
        with pytest.raises(ConfigError, match=message):
            attach(plain_trainer(tmp_path, tokenizer), defences=defences)


@pytest.mark.parametrize("defences", ["nonesuch", "safe_instr", "lisa", "none", "guarded"])
def test_a_refused_defence_leaves_the_trainer_as_it_was(defences, tmp_path, tokenizer):
    trainer = plain_trainer(tmp_path, tokenizer)
    callbacks = list(trainer.callback_handler.callbacks)
    with pytest.raises((ConfigError, RegistryError)):
        attach(trainer, hand_plan(Entry(pattern="q_proj", lr_mult=0.0), Entry(pattern=".*")), defences=defences)
    assert trainer.callback_handler.callbacks == callbacks and trainer.optimizer_cls_and_kwargs is None
    assert all(parameter.requires_grad for parameter in trainer.model.parameters())


def test_weights_in_16_bits_are_told_of(tmp_path, tokenizer, caplog):
    trainer = plain_trainer(tmp_path, tokenizer)
    attach(trainer, SLOW_Q)
    assert "float32" not in caplog.text
    trainer = plain_trainer(tmp_path, tokenizer)
    trainer.model.to(torch.bfloat16)
    attach(trainer, SLOW_Q)
    assert "Expected float32 weights to train, found 20 of 20 in bfloat16: small steps round away" in caplog.text
    assert "Load the model with dtype=torch.float32" in caplog.text


def test_a_model_that_the_trainer_makes_anew_is_trained_by_the_plan(tmp_path, tokenizer):
    trainer = made_anew(tmp_path, tokenizer)
    attach(
        trainer, hand_plan(Entry(pattern=r"layers\.0\.", lr_mult=0.0), Entry(pattern=".*")), defences="ema+kl_anchor"
    )
    first, trains = trainer.model, {}

    class Looks(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **_):
            trains.update({name: p.requires_grad for name, p in model.named_parameters()})

    trainer.add_callback(Looks())
    trainer.train()
    start, end = tiny_llama(len(tokenizer)).state_dict(), trainer.model.state_dict()
    assert trainer.model is not first
    moved = {name for name, value in end.items() if not torch.equal(start[name], value)}
    assert moved and not any("layers.0." in name for name in moved)
    assert trains and all(trains[name] is ("layers.0." not in name) for name in trains)
    assert all(parameter.requires_grad for parameter in trainer.model.parameters())


def made_anew(tmp_path, tokenizer):
    plain = plain_trainer(tmp_path, tokenizer)
    return Trainer(model_init=lambda: tiny_llama(len(tokenizer)), args=plain.args, train_dataset=plain.train_dataset)


def test_defences_act_on_the_model_that_the_trainer_has_made_anew(tmp_path, tokenizer):
    seen = []

    class Looks(Defence):
        title, paper, weights = "looks", "mine", "none"
        needs = (REFERENCE,)

        def step(self, run):
            with run.reference() as reference:
                seen.append((run.model is trainer.model, reference is not run.model))

    trainer = made_anew(tmp_path, tokenizer)
    attach(trainer, defences=[Looks()])
    trainer.train()
    assert seen == [(True, True)] * STEPS
    start = tiny_llama(len(tokenizer)).state_dict()
    assert any(not torch.equal(start[name], value) for name, value in trainer.model.state_dict().items())


@pytest.mark.parametrize(
    ("before", "after", "match"),
    [
        (("ema", {}), ("ema", {"ema": {"decay": 0.5}}), r"of EMA \(.*0\.5\)+ in .*, found that of EMA \(.*0\.98"),
        (("ema", {}), ("kl_anchor", {}), "found that of EMA"),
        (("ema", {}), ("ema+kl_anchor", {}), "found that of EMA"),
        (("ema+kl_anchor", {}), ("kl_anchor+ema", {}), "Resume with the defences and the settings"),
    ],
    ids=["other settings", "another", "one more", "another order"],
)
def test_a_checkpoint_of_other_defences_is_refused(before, after, match, tmp_path, tokenizer):
    first = plain_trainer(tmp_path, tokenizer, max_steps=2, save_strategy="steps", save_steps=1)
    attach(first, defences=before[0], settings=before[1])
    first.train()
    resumed = plain_trainer(tmp_path, tokenizer)
    attach(resumed, defences=after[0], settings=after[1])
    with pytest.raises(TrainingError, match=match):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


@pytest.mark.parametrize("second", ["ema", "kl_anchor"])
def test_defences_are_attached_once(second, tmp_path, tokenizer):
    trainer = plain_trainer(tmp_path, tokenizer)
    attach(trainer, defences="kl_anchor")
    callbacks = list(trainer.callback_handler.callbacks)
    with pytest.raises(ConfigError, match="without defences, found some attached already"):
        attach(trainer, ONE, defences=second)
    assert trainer.callback_handler.callbacks == callbacks


def test_the_best_checkpoint_is_not_asked_for_where_the_last_weights_are_made_of_all_steps(tmp_path, tokenizer):
    trainer = plain_trainer(tmp_path, tokenizer)
    trainer.args.load_best_model_at_end = True
    with pytest.raises(ConfigError, match="last weights for EMA, found load_best_model_at_end"):
        attach(trainer, defences="ema")
    attach(trainer, defences="kl_anchor")


def phased(until):
    held = Phase(until=until, entries=(Entry(pattern=r"layers\.1\."), Entry(pattern=".*", lr_mult=0.0)))
    return hand_plan(Entry(pattern=".*"), phases=(held,))


def test_a_checkpoint_of_a_plan_whose_phases_end_elsewhere_is_refused(tmp_path, tokenizer):
    first = plain_trainer(tmp_path, tokenizer, max_steps=2, save_strategy="steps", save_steps=1)
    attach(first, phased(0.5))
    first.train()
    resumed = plain_trainer(tmp_path, tokenizer)
    attach(resumed, phased(0.75))
    with pytest.raises(PlanError, match=r"whose phases end at 0\.75 of the steps, found 0\.5: its modules were held"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


FREEZES = hand_plan(Entry(pattern=r"layers\.0\.", lr_mult=0.0), Entry(pattern=".*"))


@pytest.mark.parametrize("defences", [(), ("ema",), ("safe_grad",)], ids=["plan", "ema at once", "later"])
@pytest.mark.parametrize("lora", [False, True])
def test_the_users_model_is_given_back_as_it_came(defences, lora, tmp_path, tokenizer):
    trainer = sft_trainer(tmp_path, tokenizer, lora=lora)
    before = {name: p.requires_grad for name, p in trainer.model.named_parameters()}
    if defences == ("ema",):
        attach(trainer, FREEZES, defences="ema")
    else:
        attach(trainer, FREEZES)
        if defences:
            attach(trainer, defences="ema")
    start = weights(trainer)
    for _ in range(2):  # a second training holds them still again
        trainer.train()
        assert {name: p.requires_grad for name, p in trainer.model.named_parameters()} == before
        assert trainer.evaluate(trainer.train_dataset)["eval_loss"] > 0
    end = weights(trainer)
    assert all(torch.equal(start[name], end[name]) for name in start if "layers.0." in name)


def test_a_checkpoint_with_defences_is_not_gone_on_from_without_any(tmp_path, tokenizer):
    first = plain_trainer(tmp_path, tokenizer, max_steps=2, save_strategy="steps", save_steps=1)
    attach(first, ONE, defences="ema")
    first.train()
    resumed = plain_trainer(tmp_path, tokenizer)
    attach(resumed, ONE)
    with pytest.raises(TrainingError, match=r"Expected the state of no defence in .*, found that of EMA"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


@pytest.mark.parametrize("part", ["whole", "decoder", "layers"])
def test_a_plan_fits_a_compiled_model(part, tmp_path, tokenizer):
    topology = read_topology(tiny_llama(len(tokenizer)))
    made_for = PlanModel(id="tiny", fingerprint=topology.fingerprint())
    trainer = plain_trainer(tmp_path, tokenizer, remove_unused_columns=False)  # a compiled forward hides its own names
    model = trainer.model
    if part == "whole":
        compiled = torch.compile(model, backend="eager")
        trainer = Trainer(model=compiled, args=trainer.args, train_dataset=trainer.train_dataset)
    elif part == "decoder":
        model.model = torch.compile(model.model, backend="eager")
    else:
        for number, layer in enumerate(model.model.layers):
            model.model.layers[number] = torch.compile(layer, backend="eager")
    start = weights(trainer)
    attach(trainer, plan_of("test", made_for, topology, ModuleSet.parse(["0.q"]), rest_lr_mult=0.0))
    trainer.train()
    end = weights(trainer)
    moved = [name for name in start if not torch.equal(start[name], end[name])]
    assert [name.replace("_orig_mod.", "") for name in moved] == ["model.layers.0.self_attn.q_proj.weight"]
