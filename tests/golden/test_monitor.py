"""The safety monitor next to the trainer's own loss."""

import pytest
from datasets import Dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trl import SFTConfig, SFTTrainer

from securetune import attach, monitor
from securetune.defences.base.interface import Defence
from securetune.errors import ConfigError
from securetune.models.openings import Openings
from securetune.train.monitor import SafetyMonitor

PROMPTS = ["how do i break the lamp", "how do i open the box"]
BENIGN = ["how do i paint the box", "how do i fold the letter"]
OPENINGS = Openings(refusal=tuple(range(10, 200)), affirmative=tuple(range(200, 400)))


def trained(model, tokenizer, folder, *, watched, prepare=lambda trainer: None, evaluated=False, answers=0, **options):
    rows = [{"prompt": f"how do i {i}", "completion": "Sure."} for i in range(16)]
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder), max_steps=6, per_device_train_batch_size=2, learning_rate=0.01, logging_steps=1,
            report_to="tensorboard" if watched else "none", save_strategy="no",
            seed=0, use_cpu=True, dataloader_pin_memory=False, **options,
        ),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows[:4]),
        processing_class=tokenizer,
    )  # fmt: skip
    prepare(trainer)
    if watched:
        monitor(trainer, PROMPTS, BENIGN, every=2, openings=OPENINGS, answers=answers)
    if evaluated:
        trainer.evaluate()
    trainer.train()
    return trainer


def test_safety_stands_next_to_the_loss_in_tensorboards_file(model, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    trainer = trained(model, tokenizer, tmp_path, watched=True, eval_strategy="steps", eval_steps=3)
    (file,) = tmp_path.rglob("events.out.tfevents*")
    events = EventAccumulator(str(file)).Reload()
    assert {"eval/safety_refused", "eval/safety_margin", "eval/safety_over_refused"} <= set(events.Tags()["scalars"])
    margins = {event.step: event.value for event in events.Scalars("eval/safety_margin")}
    assert list(margins) == [0, 2, 3, 4, 6]
    assert len(set(margins.values())) > 1
    logged = [entry for entry in trainer.state.log_history if "eval_safety_margin" in entry]
    assert all("mean_token_accuracy" not in entry for entry in logged)


def test_the_direction_begins_where_it_was_and_turns(model, tokenizer, tmp_path):
    trainer = trained(model, tokenizer, tmp_path, watched=True)
    turned = [entry["eval_safety_direction"] for entry in trainer.state.log_history if "eval_safety_margin" in entry]
    assert turned[0] == pytest.approx(1) and -1 <= turned[-1] < 0.999
    assert not any("eval_safety_broken" in entry for entry in trainer.state.log_history)


def test_answers_are_looked_at_where_that_is_asked_for(model, tokenizer, tmp_path, monkeypatch):
    said = iter([["", "a a a a a a"], ["one two three four", "one two"], *[["x y", "x"]] * 99])
    monkeypatch.setattr(SafetyMonitor, "_answers", lambda self: next(said))
    trainer = trained(model, tokenizer, tmp_path, watched=True, answers=2)
    first, second, *_ = [entry for entry in trainer.state.log_history if "eval_safety_margin" in entry]
    assert (first["eval_safety_broken"], first["eval_safety_words"]) == (1, 3)
    assert (second["eval_safety_broken"], second["eval_safety_words"]) == (0, 3)


def test_watching_changes_no_weight(tokenizer, tmp_path):
    from tests.conftest import tiny_llama

    weights = [
        trained(
            tiny_llama(len(tokenizer)), tokenizer, tmp_path / str(watched), watched=watched, answers=2 * watched
        ).model.state_dict()
        for watched in (False, True)
    ]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_nothing_to_watch_is_an_error(model, tokenizer, tmp_path):
    trainer = trained(model, tokenizer, tmp_path, watched=False)
    with pytest.raises(ConfigError, match="malicious and benign prompts"):
        monitor(trainer, [], PROMPTS)


def test_the_training_loss_stays_in_the_log_beside_what_is_watched(model, tokenizer, tmp_path):
    trainer = trained(model, tokenizer, tmp_path, watched=True)
    losses = [entry["step"] for entry in trainer.state.log_history if "loss" in entry]
    watched = [entry["step"] for entry in trainer.state.log_history if "eval_safety_margin" in entry]
    assert losses == [1, 2, 3, 4, 5, 6]
    assert watched == [0, 2, 4, 6]


def test_the_value_before_training_is_there_after_an_evaluation(model, tokenizer, tmp_path):
    trainer = trained(model, tokenizer, tmp_path, watched=True, evaluated=True)
    watched = [entry["step"] for entry in trainer.state.log_history if "eval_safety_margin" in entry]
    assert watched == [0, 2, 4, 6]


def test_a_model_that_a_defence_changes_at_the_end_is_measured_again(model, tokenizer, tmp_path):
    class Halves(Defence):
        title, paper = "halves", "mine"

        def finalize(self, run):
            for parameter in run.trainable().values():
                parameter.data.mul_(0.5)

    trainer = trained(
        model, tokenizer, tmp_path, watched=True, prepare=lambda trainer: attach(trainer, defences=[Halves()])
    )
    last = [entry["eval_safety_margin"] for entry in trainer.state.log_history if "eval_safety_margin" in entry][-1]
    (monitor_callback,) = [c for c in trainer.callback_handler.callbacks if isinstance(c, SafetyMonitor)]
    assert last == monitor_callback.measure()["eval_safety_margin"]
