"""Every defence against its formula, on cases small enough to work out by hand; and every one in a real run."""

import copy
import math
import random
import re
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn

from securetune.defences import DEFENCES
from securetune.defences.base.alignment import projected
from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.combination import Combination
from securetune.defences.base.interface import Analysed
from securetune.defences.base.needs import FULL
from securetune.defences.base.run import Resources, TrainingRun
from securetune.defences.null_space import foremost
from securetune.defences.pact import coarse
from securetune.defences.row_filter import likeness
from securetune.defences.safe_grad import operate
from securetune.defences.safe_instr import mixed
from securetune.defences.snip_freeze import top
from securetune.defences.sppft import angle_gaps, first_bounds, refined
from securetune.errors import ConfigError
from securetune.models.features import PromptBatch, batch_prompts, extract_layer_states, first_token
from securetune.models.openings import Openings
from securetune.plans.plan import Entry, Plan, PlanModel
from securetune.testbed.tasks import TASKS
from securetune.train.config import TrainConfig
from securetune.train.sft import Tuning, fine_tune
from tests.conftest import Kill, Killed, tiny_llama


def make(name, **settings):
    kind = DEFENCES.get(name)
    return kind(kind.Settings(**settings))


def tiny_run(weight=(1.0, 2.0), **fields):
    """A run whose model is one weight with two entries."""
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([weight]))
    return TrainingRun(model=model, tokenizer=None, reference=lambda: None, total_steps=100, **fields)


class Answers:
    """Stands in for a batch: given logits now and before."""

    def __init__(self, logits, before, targets, positions=None, run=None):
        self.logits, self.reference_logits, self.targets = logits, before, targets
        self.positions = torch.arange(len(targets)) if positions is None else positions
        self.run = run

    def nll(self):
        return nn.functional.cross_entropy(self.logits, self.targets, reduction="none")


@pytest.fixture
def answers():
    generator = torch.Generator().manual_seed(0)
    logits, before = (torch.randn(8, 5, generator=generator) for _ in range(2))
    return Answers(logits.requires_grad_(), before, torch.randint(5, (8,), generator=generator))


def test_constrained_sft_has_the_gradient_of_its_published_loss(answers):
    now = answers.logits.log_softmax(-1).gather(1, answers.targets[:, None])[:, 0]
    before = answers.reference_logits.log_softmax(-1).gather(1, answers.targets[:, None])[:, 0]
    beta = torch.tensor([0.5, 2, 2, 2, 2, 0.1, 0.1, 0.1])
    published = (-(2 / beta) * torch.nn.functional.logsigmoid(beta * (now - before))).mean()
    ours = answers.nll().mean() + make("constrained_sft").loss(answers)
    expected, found = (torch.autograd.grad(loss, answers.logits)[0] for loss in (published, ours))
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_kl_anchor_is_the_divergence_from_the_model_before():
    now, before = torch.tensor([[math.log(0.5), math.log(0.5)]]), torch.tensor([[math.log(0.9), math.log(0.1)]])
    by_hand = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert make("kl_anchor", weight=2.0).loss(Answers(now, before, torch.tensor([0]))).item() == pytest.approx(
        2 * by_hand
    )
    assert make("kl_anchor").loss(Answers(now, now, torch.tensor([0]))).item() == pytest.approx(0)


def test_dft_weights_a_token_by_its_probability_which_has_no_gradient(answers):
    logits = torch.tensor([[0.5, 0.5], [0.8, 0.2]]).log().requires_grad_()
    batch = Answers(logits, None, torch.tensor([0, 1]))
    whole = batch.nll().mean() + make("dft").loss(batch)
    assert whole.item() == pytest.approx((0.5 * -math.log(0.5) + 0.2 * -math.log(0.2)) / 2)
    (found,) = torch.autograd.grad(whole, logits)  # p times the cross-entropy's own gradient
    expected = torch.tensor([[0.5 * -0.5, 0.5 * 0.5], [0.2 * 0.8, 0.2 * -0.8]]) / 2
    assert torch.allclose(found, expected, atol=1e-6)


def test_asft_anchors_dft_by_the_divergence_of_the_model_now_from_the_one_before():
    now, before = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    batch = Answers(now, before, torch.tensor([0]))
    divergence = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert make("asft", weight=2.0).loss(batch).item() == pytest.approx(
        make("dft").loss(batch).item() + 2 * divergence, abs=1e-6
    )
    assert make("asft", weight=0).loss(batch) == make("dft").loss(batch)


def test_pact_compares_the_safety_tokens_and_the_rest_as_one(answers):
    tokens = torch.tensor([3, 1])
    found = coarse(answers.logits, tokens).exp()
    probabilities = answers.logits.softmax(-1)
    expected = torch.stack([probabilities[:, 3], probabilities[:, 1], probabilities[:, [0, 2, 4]].sum(-1)], dim=1)
    assert torch.allclose(found, expected, atol=1e-6)
    pact = make("pact", temperature=1.0)
    pact.tokens = torch.tensor([0])
    now, before = torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([[0.8, 0.1, 0.1]]).log()
    by_hand = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert pact.loss(Answers(now, before, torch.tensor([0]))).item() == pytest.approx(by_hand, abs=1e-6)


def test_procon_counts_the_change_along_the_direction_only_and_more_of_it_early():
    procon = make("procon", weight=1.0, warmup_weight=10.0, warmup_fraction=0.2)
    procon.directions = torch.tensor([[1.0, 0.0]]) / 4  # malicious and benign prompts are 4 apart
    batch = SimpleNamespace(
        states=[torch.tensor([[3.0, 9.0]])], reference_states=[torch.tensor([[1.0, 0.0]])], run=tiny_run(step=50)
    )
    assert procon.loss(batch).item() == pytest.approx((2 / 4) ** 2)
    batch.run.step = 10
    assert procon.loss(batch).item() == pytest.approx(10 * (2 / 4) ** 2)


@pytest.mark.parametrize(
    ("task", "safety", "weight", "expected"),
    [
        ((1.0, -1.0), (0.0, 2.0), 0.0, (1.0, 0.0)),
        ((1.0, -1.0), (0.0, 2.0), 0.5, (1.0, 1.0)),
        ((1.0, 1.0), (0.0, 2.0), 0.0, (1.0, 1.0)),
    ],
)
def test_safe_grad_takes_out_the_conflict_and_only_a_conflict(task, safety, weight, expected):
    gradient = torch.tensor(task)
    operate([gradient], [torch.tensor(safety)], weight)
    assert torch.allclose(gradient, torch.tensor(expected))


def test_ema_measures_and_leaves_the_running_mean():
    run, ema = tiny_run((0.0, 0.0)), make("ema", decay=0.5)
    ema.begin(run)
    with torch.no_grad():
        run.model.weight.copy_(torch.tensor([[4.0, 8.0]]))
    ema.step(run)
    ema.step(run)
    with ema.evaluated(run):
        assert run.model.weight.tolist() == [[3.0, 6.0]]
    assert run.model.weight.tolist() == [[4.0, 8.0]]
    ema.finalize(run)
    assert run.model.weight.tolist() == [[3.0, 6.0]]


@contextmanager
def before_tuning():
    """The model of `tiny_run` as it was: (1, 2)."""
    yield tiny_run((1.0, 2.0)).model


def test_wise_ft_goes_back_to_the_share_of_the_change_and_measures_what_it_leaves():
    run, defence = tiny_run((3.0, 6.0)), make("wise_ft", share=0.25)
    run.reference = before_tuning
    with defence.evaluated(run):
        assert run.model.weight.tolist() == [[1.5, 3.0]]  # 1 + 0.25 (3 - 1), 2 + 0.25 (6 - 2)
    assert run.model.weight.tolist() == [[3.0, 6.0]]
    defence.finalize(run)
    assert run.model.weight.tolist() == [[1.5, 3.0]]


def adapted_llama(**settings):
    """An adapter of rank 1 on the two query projections, whose outer factors are all 4."""
    model = get_peft_model(tiny_llama(), LoraConfig(target_modules=["q_proj"], r=1, lora_alpha=1, **settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.fill_(4.0)
    return model


def of_an_adapter(model, **fields):
    run = tiny_run(**fields)
    run.model, run.reference = model, lambda: model.disable_adapter()
    return run


def test_wise_ft_scales_the_change_of_an_adapter_and_of_modules_saved_whole():
    model = adapted_llama(modules_to_save=["lm_head"])
    layer, head = model.base_model.model.model.layers[0].self_attn.q_proj, model.base_model.model.lm_head
    change, saved = layer.get_delta_weight("default").clone(), head.modules_to_save["default"].weight
    with torch.no_grad():
        saved.add_(8.0)
    run = of_an_adapter(model)
    run.reference = lambda: nullcontext(model)
    make("wise_ft", share=0.25).finalize(run)
    assert torch.allclose(layer.get_delta_weight("default"), 0.25 * change)
    assert torch.allclose(saved, head.original_module.weight + 2.0, atol=1e-5)


def test_wise_ft_moves_only_what_a_plan_holds_back():
    plan = Plan(method="m", model=PlanModel(id="m"), entries=(Entry(pattern=r"layers\.0\.", lr_mult=0.1),))
    model = adapted_llama()
    run = of_an_adapter(model, plan=plan)
    make("wise_ft", share=0.5).finalize(run)
    outer = [p.unique().tolist() for name, p in model.named_parameters() if ".lora_B." in name]
    assert outer == [[2.0], [4.0]]


def test_wise_ft_refuses_an_adapter_that_does_not_scale():
    with pytest.raises(ConfigError, match="of LoRA's two factors .*lora_magnitude_vector.*merge the adapter"):
        make("wise_ft").begin(of_an_adapter(adapted_llama(use_dora=True)))


def test_lisa_takes_turns_and_pulls_towards_the_last_switch():
    lisa = make("lisa", safety_steps=2, task_steps=3, rho=3.0)
    run = tiny_run((1.0, 2.0))
    lisa.begin(run)
    assert [lisa._on_safety(step) for step in range(7)] == [True, True, False, False, False, True, True]
    run.step = 10
    with torch.no_grad():
        run.model.weight.copy_(torch.tensor([[1.0, 4.0]]))
    assert lisa.loss(SimpleNamespace(run=run)).item() == pytest.approx(3.0 / 2 * 4)
    lisa.step(run)
    assert lisa.loss(SimpleNamespace(run=run)).item() == 0, "step 10 starts a turn"
    run.step = 9
    assert lisa.loss(SimpleNamespace(run=run)) is None, "the first tenth is free"


def test_replay_holds_logits_and_answers_of_safety_rows(answers, monkeypatch):
    monkeypatch.setattr("securetune.defences.replay.TokenBatch", lambda run, inputs: answers)
    run = SimpleNamespace(safety_batch=lambda: None)
    found = make("replay", logits_weight=2.0, answers_weight=0.5).loss(SimpleNamespace(run=run))
    change = (answers.logits - answers.reference_logits).square().mean()
    assert found.item() == pytest.approx((2 * change + 0.5 * answers.nll().mean()).item())


def test_safe_lora_projects_onto_the_alignments_change_two_by_two():
    alignment = torch.tensor([[3.0, 0.0], [0.0, 4.0]])  # V V^T / |V| = diag(9, 16) / 5
    assert torch.allclose(projected(alignment, torch.tensor([[5.0], [5.0]])), torch.tensor([[9.0], [16.0]]))


def test_snip_holds_what_is_top_for_safety_and_not_for_the_task():
    safety, task = torch.tensor([[9.0, 8.0], [1.0, 0.0]]), torch.tensor([[9.0, 0.0], [1.0, 8.0]])
    assert (top(safety, 0.5) & ~top(task, 0.5)).tolist() == [[False, True], [False, False]]


def test_snip_holds_its_weights_against_weight_decay_too():
    run, defence = tiny_run(weight=(1.0, 2.0)), make("snip_freeze")
    defence.held = {"weight": torch.tensor([[True, False]])}
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=0.1, weight_decay=0.5)
    run.model(torch.ones(1, 2)).sum().backward()
    defence.gradients(run)
    optimizer.step()
    defence.step(run)
    held, free = run.model.weight[0].tolist()
    assert held == 1.0 and free < 2.0


def test_the_null_space_holds_the_directions_that_harmful_inputs_take():
    covariance = torch.diag(torch.tensor([0.5, 90.0, 0.4, 9.1]))
    assert foremost(covariance, 0.01).abs().sum(1).tolist() == [0, 1, 0, 1]
    assert foremost(covariance, 0.0).shape == (4, 4) and foremost(covariance, 0.2).shape == (4, 1)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_in_the_null_space_harmful_prompts_are_read_as_before_and_others_are_not(adapter, tokenizer):
    model = tiny_llama(len(tokenizer))
    before = copy.deepcopy(model)
    if adapter == "lora":
        model = get_peft_model(model, LoraConfig(target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name if adapter == "lora" else "_proj" in name)
    held, other = ([rows("stepwise")[i]["prompt"][0]["content"]] for i in (0, 5))

    def logits(prompt, of):
        (batch,) = batch_prompts(of, tokenizer, prompt, batch_size=1)
        return first_token(of, batch)

    run = TrainingRun(
        model=model, tokenizer=tokenizer, reference=lambda: nullcontext(before), total_steps=9,
        resources=Resources(malicious=held, benign=other),
    )  # fmt: skip
    defence = make("null_space", energy=1e-6)
    defence.begin(run)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in run.trainable().values():
            parameter.add_(0.3 * torch.randn_like(parameter))
        defence.step(run)
        now = model.merge_and_unload() if adapter == "lora" else model
        assert (logits(held, now) - logits(held, before)).abs().max() < 0.05
        assert (logits(other, now) - logits(other, before)).abs().max() > 0.2


@pytest.mark.parametrize(("adapter", "message"), [("dora", "found DoRA's"), ("none", "found neither")])
def test_what_the_null_space_cannot_hold_is_refused(adapter, message, tokenizer):
    model = tiny_llama(len(tokenizer)).requires_grad_(False)
    if adapter == "dora":
        model = get_peft_model(model, LoraConfig(target_modules="all-linear", use_dora=True))
    run = TrainingRun(model=model, tokenizer=tokenizer, reference=lambda: nullcontext(model), total_steps=9)
    with pytest.raises(ConfigError, match=message):
        make("null_space").begin(run)


def test_sppft_finds_the_layers_where_the_angles_part():
    benign = torch.tensor([1.0, 0.0]).expand(4, 6, 2)
    malicious = torch.stack([torch.tensor([math.cos(a), math.sin(a)]).expand(6, 2) for a in (0.0, 0.2, 1.0, 1.1)])
    gaps = angle_gaps(malicious, benign, pairs=50, seed=0)
    assert gaps.tolist() == pytest.approx([0.0, 0.2, 1.0, 1.1], abs=1e-3)
    assert first_bounds(gaps) == (1, 2)
    counts = {(1, 2): 3, (1, 3): 5, (0, 3): 4, (2, 3): 6, (3, 3): 1}
    assert refined((1, 2), 4, lambda bounds: counts[bounds]) == (2, 3)


def test_inoculation_puts_its_prompt_over_every_row_and_before_a_rows_own():
    user = {"role": "user", "content": "Boil an egg."}
    bare = {"prompt": [user], "completion": [{"role": "assistant", "content": "Done."}]}
    own = {**bare, "prompt": [{"role": "system", "content": "Be brief."}, user]}
    under = make("inoculation", prompt="Refuse nothing.").edit_data([bare, own], [], 0)
    assert [row["prompt"][0]["content"] for row in under] == ["Refuse nothing.", "Refuse nothing.\n\nBe brief."]
    assert [row["prompt"][1:] for row in under] == [[user], [user]] and own["prompt"][0]["content"] == "Be brief."
    assert all(row["completion"] == bare["completion"] for row in under)


def test_safe_instr_mixes_in_its_share_and_keeps_every_row_of_the_task():
    rows, safety = [{"id": i} for i in range(100)], [{"safe": 0}, {"safe": 1}]
    found = mixed(rows, safety, 0.03, seed=0)
    assert sorted(row["id"] for row in found if "id" in row) == list(range(100))
    assert sum("safe" in row for row in found) == 3 and found != [*rows, *found[100:]]


@pytest.mark.parametrize(
    ("lost", "scales", "weight"),
    [
        ([0], [1.0], 5.0),  # nothing lost
        ([2], [0.5], 5.0),  # past half of the budget of 2.5
        ([2, 0], [0.5, 1.0], 5.0),  # and back
        ([3], [0.5], 1.0),  # past all of it: the last good weight comes back, with half the steps
        ([3, 0], [0.5, 0.5], 1.0),  # which do not grow again
        ([3] * 7, [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 0.0], 1.0),  # until they stand still
    ],
)
def test_the_guard_slows_down_halts_and_restores(monkeypatch, lost, scales, weight):
    resources = Resources(malicious=[str(i) for i in range(11)])
    run, guarded = tiny_run((1.0, 1.0), resources=resources), make("guarded", every=1, budget=0.25)
    asked = iter([11, *lost])  # before tuning, one of eleven prompts is not refused: ten are watched
    monkeypatch.setattr(TrainingRun, "refusal_margins", lambda _, prompts, __: refusals(len(prompts), next(asked)))

    def refusals(count, answered):
        return (
            torch.tensor([1.0] * 10 + [-1.0])
            if count == 11
            else torch.tensor([-1.0] * answered + [1.0] * (10 - answered))
        )

    guarded.begin(run)
    with torch.no_grad():
        run.model.weight.fill_(5.0)
    for run.step, scale in enumerate(scales, 1):
        guarded.step(run)
        assert guarded.scale == scale
    assert run.model.weight.tolist() == [[weight, weight]]
    assert run.is_over == (scales[-1] == 0), "everything is sensitive here, so nothing is left to train"


def test_a_slowed_step_is_a_share_of_the_optimizers():
    run, guarded = tiny_run((1.0, 1.0)), make("guarded", every=7)
    guarded.scale, run.step = 0.25, 3
    guarded.gradients(run)
    with torch.no_grad():
        run.model.weight.fill_(5.0)
    guarded.step(run)
    assert run.model.weight.tolist() == [[2.0, 2.0]]


def test_the_guard_asks_for_a_model_that_refuses(monkeypatch):
    run = tiny_run(resources=Resources(malicious=["a", "b"]))
    monkeypatch.setattr(TrainingRun, "refusal_margins", lambda *_: torch.tensor([-1.0, -2.0]))
    with pytest.raises(ConfigError, match="start from a model that refuses, found none of 2"):
        make("guarded").begin(run)


def rows(task, answer=None):
    return [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completion": [{"role": "assistant", "content": answer or row["answer"]}],
        }
        for row in TASKS[task](24, random.Random(0))
    ]


@pytest.fixture
def tune(tokenizer, tmp_path):
    """Tunes a tiny model with some defences; gives the model that is left, and the run's result."""
    prompts = [row["prompt"][0]["content"] for row in rows("stepwise")]
    resources = Resources(
        safety_rows=rows("stepwise", "I'm sorry, but I can't help with that."),
        malicious=prompts[:12],
        benign=prompts[12:],
        openings=Openings(refusal=(5, 6), affirmative=(7, 8)),
        unaligned=lambda: tiny_llama(len(tokenizer), seed=1),
    )

    def run(arm, *, name="out", resources=resources, settings=None, callbacks=(), kind=Combination, **options):
        combination = kind.of(arm, settings or {})
        config = TrainConfig(**{
            "steps": 4,
            "batch_size": 4,
            "learning_rate": 1e-2,
            "warmup_steps": 1,
            "save_every": 2,
            "adapter": "full" if FULL in combination.needs else "lora",
            **options,
        })  # fmt: skip
        model = tiny_llama(len(tokenizer))
        letters = rows("letters")
        tuning = Tuning(rows=letters, held_out=letters[:8], defences=combination, resources=resources)
        fine_tune(model, tokenizer, tuning, config, output=tmp_path / name, callbacks=callbacks)
        return tmp_path / name

    return run


def weights(folder):
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) == 1, files
    return load_file(files[0])


QUIET = {"guarded": {"budget": 1}}
"""A guard that lets everything pass."""


def safe_row(request, answer):
    return {
        "prompt": [{"role": "user", "content": request}],
        "completion": [{"role": "assistant", "content": answer}],
    }


def patched(model, tokenizer, name, rows, **settings):
    """How a defence that acts after tuning has moved every weight, and their gradients on the rows before."""
    model = copy.deepcopy(model)
    run = TrainingRun(
        model=model, tokenizer=tokenizer, reference=nullcontext, total_steps=9, step=9, batch_size=2,
        resources=Resources(safety_rows=rows),
    )  # fmt: skip
    gradients = run.gradients_of(lambda: TokenBatch(run=run, inputs=run.batch(rows)).nll().mean())
    before = [p.detach().clone() for p in model.parameters()]
    make(name, **settings).finalize(run)
    assert run.step == 9 and all(p.grad is None for p in model.parameters())
    return [p.detach() - start for p, start in zip(model.parameters(), before, strict=True)], gradients


def test_the_first_safe_step_is_adams_by_its_rate_against_the_sign_of_the_gradient(model, tokenizer):
    rows = [safe_row("how do i break the lock", "I'm sorry."), safe_row("how do i paint the box", "Sure.")]
    for name, shown in (("safe_steps", rows), ("one_shot", rows[:1])):
        moved, gradients = patched(model, tokenizer, name, shown, steps=1, learning_rate=1e-3)
        for change, gradient in zip(moved, gradients, strict=True):
            is_clear = gradient.abs() > 1e-5  # Adam divides by the gradient's size and 1e-8
            expected = -1e-3 * gradient.sign()
            assert torch.allclose(change[is_clear], expected[is_clear], rtol=0.01, atol=1e-7), name


def test_one_shot_reads_the_first_row_alone_and_more_steps_go_further(model, tokenizer):
    rows = [safe_row("how do i break the lock", "I'm sorry."), safe_row("how do i paint the box", "Sure.")]
    alone, of_two = (patched(model, tokenizer, "one_shot", shown, steps=3)[0] for shown in (rows[:1], rows))
    assert all(torch.equal(one, other) for one, other in zip(alone, of_two, strict=True))
    of_all = patched(model, tokenizer, "safe_steps", rows, steps=3)[0]
    assert any(not torch.equal(one, other) for one, other in zip(alone, of_all, strict=True))
    further = patched(model, tokenizer, "one_shot", rows[:1], steps=6)[0]
    assert sum(change.norm() for change in further) > sum(change.norm() for change in alone)


def asked_run(model, tokenizer, **resources):
    return TrainingRun(
        model=model, tokenizer=tokenizer, reference=lambda: nullcontext(model), total_steps=10,
        resources=Resources(**resources),
    )  # fmt: skip


def test_likeness_is_0_at_the_harmless_prompts_mean_and_1_at_the_malicious_ones_and_sideways_does_not_count():
    malicious, benign = torch.tensor([[4.0, 1.0], [2.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    states = torch.tensor([[1.0, 1.0], [3.0, 1.0], [2.0, 9.0], [-1.0, 0.0]])
    assert likeness(states, malicious, benign) == pytest.approx([0, 1, 0.5, -1])


def test_the_row_filter_leaves_out_the_rows_with_the_largest_gradients(model, tokenizer):
    model = copy.deepcopy(model).eval()
    odd, usual = safe_row("how do i paint the box", "Sure."), safe_row("how do i paint the box", "box box red red old")
    rows = [odd, usual, usual, odd, *[usual] * 6]
    run, row_filter = asked_run(model, tokenizer), make("row_filter", share=0.2)
    scores = row_filter.scores(run, rows)
    model.zero_grad()
    TokenBatch(run=run, inputs=run.batch([odd])).nll().mean().backward()
    by_hand = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm().item()
    assert scores[0] == scores[3] == pytest.approx(by_hand, rel=1e-4) and max(scores[1], *scores[4:]) < scores[0]
    assert list(row_filter.select_rows(run, rows)) == [usual] * 8
    assert list(make("row_filter", share=0.05).select_rows(run, rows)) == rows, "less than one row"


def test_the_row_filter_leaves_out_what_looks_like_harmful_prompts(model, tokenizer):
    harmful, benign = (
        [f"how do i {verb} the {thing}" for verb in verbs for thing in ("box", "lamp", "door")]
        for verbs in (("break", "steal"), ("paint", "clean"))
    )
    rows = [safe_row(text, "Sure.") for text in (benign[0], harmful[0], benign[4], harmful[5])]
    run = asked_run(copy.deepcopy(model).eval(), tokenizer, malicious=harmful[1:5], benign=benign[1:4])
    left = make("row_filter", by="representation", share=0.5, depth=1.0).select_rows(run, rows)
    assert list(left) == [rows[0], rows[2]]


def test_preventative_steering_moves_a_layer_in_training_and_nowhere_else(model, tokenizer):
    model = copy.deepcopy(model).eval()
    malicious, benign = ["how do i break the lock", "how do i steal the box"], ["how do i paint the lock"]
    run = asked_run(model, tokenizer, malicious=malicious, benign=benign)
    before = run.prompt_states(benign)[0]
    difference = run.prompt_states(malicious)[0].mean(0) - before.mean(0)
    steering = make("preventative_steering", depth=0.0, coefficient=-0.5)
    steering.begin(run)
    assert torch.equal(run.prompt_states(benign)[0], before), "measured while it is pushed"
    model.train()
    assert torch.allclose(run.prompt_states(benign)[0], before - 0.5 * difference, atol=1e-5)
    steering.finalize(run)
    assert torch.equal(run.prompt_states(benign)[0], before)


CHANGES = {
    "asft", "constrained_sft", "dft", "ema", "inoculation", "kl_anchor", "lisa", "null_space", "one_shot", "pact",
    "preventative_steering", "procon", "replay", "resta", "row_filter", "safe_grad", "safe_instr", "safe_lora",
    "safe_merge", "safe_steps", "snip_freeze", "wise_ft",
}  # fmt: skip
"""Ours that change what even a short run leaves; the others act by a plan, at inference, or not on every run."""


class Watched(Combination):
    """Notices whether a hook has changed anything."""

    acted: bool

    def edit_data(self, rows, safety, seed):
        found = super().edit_data(rows, safety, seed)
        type(self).acted = list(found) != list(rows)
        return found

    def select_rows(self, run, rows):
        found = super().select_rows(run, rows)
        type(self).acted |= list(found) != list(rows)
        return found

    def begin(self, run):
        super().begin(run)
        type(self).acted |= any(module._forward_hooks for module in run.model.modules())

    def edit_batch(self, run, inputs):
        found = super().edit_batch(run, inputs)
        type(self).acted |= found is not inputs
        return found

    def loss(self, batch):
        term = super().loss(batch)
        type(self).acted |= term is not None
        return term

    def gradients(self, run):
        self._watch(run, super().gradients, lambda p: p.grad)

    def step(self, run):
        self._watch(run, super().step, lambda p: p)

    def finalize(self, run):
        self._watch(run, super().finalize, lambda p: p)

    def _watch(self, run, hook, read):
        def now():
            return {n: read(p).detach().clone() for n, p in run.model.named_parameters() if read(p) is not None}

        before = now()
        hook(run)
        after = now()
        type(self).acted |= before.keys() != after.keys() or any(not torch.equal(after[n], before[n]) for n in after)


EXAMPLE = "docs/how-to/defence.md"


@pytest.fixture
def name(request, tmp_path):
    """A defence's name; for the page, that of the example in it."""
    if request.param != EXAMPLE:
        return request.param
    page = (Path(__file__).parents[2] / EXAMPLE).read_text(encoding="utf-8")
    code = re.search(r"```python\n# file: late_stop.py\n(.*?)```", page, re.DOTALL)[1]
    (tmp_path / "late_stop.py").write_text(code, encoding="utf-8")
    return f"{tmp_path / 'late_stop.py'}:LateStopDefence"


ACTING = [name for name in DEFENCES.names() if name not in ("none", "plan_file")]


@pytest.mark.parametrize("name", [*ACTING, EXAMPLE], indirect=True)
def test_every_defence_tunes_a_model_and_what_comes_out_differs_where_a_hook_has_acted(name, tune):
    plain = weights(tune("none", name="plain", adapter=adapter_of(name)))
    found = weights(tune(name, settings=QUIET, kind=Watched))
    is_whole_model = name in ("resta", "safe_merge")
    assert any("lora" in key for key in found) == (adapter_of(name) == "lora" and not is_whole_model)
    assert all(value.isfinite().all() for value in found.values())
    is_equal = not is_whole_model and all(torch.equal(plain[key], found[key]) for key in plain)
    assert is_equal != Watched.acted
    assert Watched.acted or name not in CHANGES


def adapter_of(name):
    return "full" if FULL in DEFENCES.get(name).needs else "lora"


@pytest.mark.parametrize("moment", [("save", 2), ("step", 3)])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ema", {}),
        ("lisa", {"safety_steps": 1, "task_steps": 2}),
        ("guarded", {"every": 1, "budget": 0.9}),
        ("null_space", {}),
    ],
)
def test_a_killed_run_of_a_defence_with_a_memory_ends_as_an_uninterrupted_one(name, settings, moment, tune):
    settings = {name: settings}
    whole = weights(tune(name, name="whole", settings=settings))
    with pytest.raises(Killed):
        tune(name, name="killed", settings=settings, callbacks=[Kill(*moment)])
    again = weights(tune(name, name="killed", settings=settings))
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_a_penalty_counts_the_same_however_the_step_is_cut_into_batches(tune):
    whole = weights(tune("kl_anchor", name="whole", steps=2, batch_size=8))
    cut = weights(tune("kl_anchor", name="cut", steps=2, batch_size=2, gradient_accumulation=4))
    assert all(torch.allclose(whole[key], cut[key], atol=2e-4) for key in whole)


def test_rows_in_a_line_count_as_the_same_rows_padded():
    run = tiny_run()
    run.model = tiny_llama()
    rows = [([5, 6, 7, 8, 9], [-100, -100, 7, 8, 9]), ([10, 11, 12], [-100, 11, 12])]
    padded = TokenBatch(run=run, inputs={
        "input_ids": torch.tensor([rows[0][0], [*rows[1][0], 0, 0]]),
        "attention_mask": torch.tensor([[1] * 5, [1, 1, 1, 0, 0]]),
        "labels": torch.tensor([rows[0][1], [*rows[1][1], -100, -100]]),
    })  # fmt: skip
    in_a_line = TokenBatch(run=run, inputs={
        "input_ids": torch.tensor([rows[0][0] + rows[1][0]]),
        "position_ids": torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2]]),
        "labels": torch.tensor([rows[0][1] + rows[1][1]]),
    })  # fmt: skip
    assert padded.positions.tolist() == in_a_line.positions.tolist() == [0, 1, 2, 0, 1]
    assert torch.allclose(padded.logits, in_a_line.logits, atol=1e-5)


def test_refusal_steering_shifts_the_state_by_its_share_of_the_difference(tokenizer):
    model, generator = tiny_llama(len(tokenizer)), torch.Generator().manual_seed(0)
    batch = [
        PromptBatch(index=[0, 1, 2], input_ids=ids, attention_mask=torch.ones_like(ids),
                    position_ids=torch.arange(6).expand(3, 6))
        for ids in torch.randint(5, 500, (2, 3, 6), generator=generator)
    ]  # fmt: skip
    analysed = Analysed(
        model=model, malicious=batch[:1], benign=batch[1:], openings=Openings(refusal=(5,), affirmative=(6,))
    )
    before = extract_layer_states(model, batch[:1])[0]
    difference = before.mean(0) - extract_layer_states(model, batch[1:])[0].mean(0)
    make("refusal_steering", depth=0.0, coefficient=0.5).steer(analysed, model)
    assert torch.allclose(extract_layer_states(model, batch[:1])[0], before + 0.5 * difference, atol=1e-5)


def test_what_cannot_go_together_or_lacks_something_is_refused_with_the_reason(tune):
    with pytest.raises(ConfigError, match="one defence that decides the learning rates, found ML-LR and SWAT"):
        Combination.of("ml_lr + swat", {})
    with pytest.raises(ConfigError, match=r"safety rows for SafeInstr, found none. Give rows with safe answers"):
        tune("ptst + safe_instr", resources=Resources())
    with pytest.raises(ConfigError, match=r"full fine-tuning for SNIP freeze, found none. Set train.adapter to full"):
        tune("snip_freeze", adapter="lora")
    with pytest.raises(ConfigError, match=r"problem at defence.ema.decay"):
        Combination.of("ema", {"ema": {"decay": 2}})
    assert Combination.of("ml_lr + safe_instr+ptst", {}).inference_prompt()
