"""A killed tuning run goes on to the very result of an uninterrupted one, wherever the kill came."""

import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainerCallback

from securetune.measures.loss_target import LossTarget
from securetune.plans.plan import Entry, Plan, PlanModel
from securetune.testbed.tasks import TASKS
from securetune.train.config import TrainConfig
from securetune.train.sft import Tuning, fine_tune
from tests.conftest import Kill, Killed, tiny_llama

CONFIG = TrainConfig(steps=6, save_every=2, eval_every=2, learning_rate=1e-2, batch_size=4, warmup_steps=2)


@pytest.fixture(scope="module")
def tune(tokenizer):
    examples = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completion": [{"role": "assistant", "content": row["answer"]}],
        }
        for row in TASKS["letters"](40, random.Random(0))
    ]

    def run(output, config=CONFIG, *, model=None, plan=None, target=None, callbacks=()):
        tuning = Tuning(rows=examples, held_out=examples[:8], target=target, plan=plan)
        model = model or tiny_llama(len(tokenizer))
        return fine_tune(model, tokenizer, tuning, config, output=output, callbacks=callbacks)

    return run


@pytest.fixture(scope="module", params=["all steps", "up to a loss"])
def whole(request, tune, tmp_path_factory):
    """An uninterrupted run, of all its steps or up to the loss of a shorter one, and its target."""
    folder = tmp_path_factory.mktemp("whole")
    target = None
    if request.param == "up to a loss":
        plain = tune(folder / "plain", CONFIG.model_copy(update={"steps": 4}))
        target = LossTarget(start=plain.start_loss, plain=plain.task_loss)
    return tune(folder / "whole", target=target), target


@pytest.mark.parametrize(("moment", "step"), [("step", 3), ("save", 2), ("end", 0)])
def test_a_killed_run_ends_as_an_uninterrupted_one(moment, step, whole, tune, tmp_path):
    result, target = whole
    assert result.steps == (6 if target is None else 4)
    with pytest.raises(Killed):
        tune(tmp_path / "killed", target=target, callbacks=[Kill(moment, step)])
    resumed = tune(tmp_path / "killed", target=target)
    assert (resumed.steps, resumed.task_loss, resumed.log) == (result.steps, result.task_loss, result.log)


class Watch(TrainerCallback):
    def on_step_begin(self, args, state, control, train_dataloader, **_):
        self.files = [Path(file["filename"]) for file in train_dataloader.dataset.cache_files]


def test_what_the_trainer_makes_of_the_rows_lies_in_its_work_folder_and_goes_with_it(tune, tmp_path):
    watch = Watch()
    tune(tmp_path / "tuned", CONFIG.model_copy(update={"steps": 1}), callbacks=[watch])
    assert watch.files and all(tmp_path in file.parents for file in watch.files)
    assert [path.name for path in tmp_path.iterdir()] == ["tuned"]
    assert not any("arrow" in file.suffix for file in (tmp_path / "tuned").rglob("*"))


def test_whole_weights_are_tuned_in_float32_so_that_small_steps_count(tune, tmp_path):
    config = CONFIG.model_copy(
        update={"adapter": "full", "learning_rate": 1e-5, "warmup_steps": 0, "weight_decay": 0.0}
    )
    plan = Plan(
        method="test",
        model=PlanModel(id="tiny"),
        entries=(Entry(pattern="v_proj", lr_mult=0.1), Entry(pattern=".*")),
    )
    model = tiny_llama(600).to(torch.bfloat16)
    start = {name: parameter.detach().float() for name, parameter in model.named_parameters()}
    tune(tmp_path / "tuned", config, model=model, plan=plan)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    names = (f"model.layers.0.self_attn.{part}.weight" for part in ("v_proj", "o_proj"))
    held, free = ((model.get_parameter(name) - start[name]).abs().mean().item() for name in names)
    assert held / free == pytest.approx(0.1, rel=0.2)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "tuned").dtype == torch.float32


def test_adapters_leave_the_weights_below_them_as_they_were_loaded(tune, tmp_path):
    model = tiny_llama(600).to(torch.bfloat16)
    tune(tmp_path / "tuned", model=model)
    assert model.model.embed_tokens.weight.dtype == torch.bfloat16
