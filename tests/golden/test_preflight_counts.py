"""The rows that a preflight counts as dropped and cut are those that the trainer drops and cuts."""

import random

import pytest
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from securetune.data.rendering import check_rows
from securetune.errors import DataError
from securetune.testbed.tasks import TASKS
from securetune.train.config import TrainConfig
from securetune.train.sft import Tuning, fine_tune
from tests.conftest import tiny_llama


def examples(count, seed=0):
    return [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completion": [{"role": "assistant", "content": row["answer"]}],
        }
        for row in TASKS["letters"](count, random.Random(seed))
    ]


def conversations(count):
    """Rows of several turns."""
    system = {"role": "system", "content": "Write letters."}
    return [
        {
            "prompt": [system, *row["prompt"], *row["completion"], *other["prompt"]],
            "completion": other["completion"],
        }
        for row, other in zip(examples(count), examples(count, 1), strict=True)
    ]


@pytest.mark.parametrize("rows", [examples(60), conversations(30)], ids=["single turn", "conversations"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 1.2])
def test_the_counts_are_what_the_trainer_does(rows, share, tokenizer, tmp_path):
    longest = check_rows(tokenizer, "task", rows, max_length=10_000).longest
    prompts = sorted(
        len(tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True)["input_ids"]) for row in rows
    )
    max_length = prompts[0] + round(share * (longest - prompts[0]))
    found = check_rows(tokenizer, "task", rows, max_length=max_length)
    trainer = SFTTrainer(
        model=tiny_llama(len(tokenizer)),
        args=SFTConfig(output_dir=str(tmp_path), max_length=max_length, bf16=False, report_to="none"),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    end = tokenizer.eos_token_id
    kept = list(trainer.train_dataset)
    assert found.dropped == len(rows) - len(kept)
    assert found.cut == sum(row["labels"][-1] != end for row in kept)
    assert (found.cut > 0) == (share < 1)


def test_dropped_rows_are_said_when_a_model_is_tuned(tokenizer, tmp_path, caplog):
    rows = examples(12)
    long = {**rows[0], "prompt": [{"role": "user", "content": "very long " * 80}]}
    config = TrainConfig(steps=1, batch_size=4, max_length=96)
    fine_tune(
        tiny_llama(len(tokenizer)),
        tokenizer,
        Tuning(rows=[*rows, long], held_out=rows[:8]),
        config,
        output=tmp_path / "a",
    )
    assert "1 of 13 rows to tune on are dropped: their prompts fill max_length (96 tokens)" in caplog.text
    assert "held out" not in caplog.text


@pytest.mark.parametrize("which", ["to tune on", "held out"])
def test_rows_that_are_all_too_long_are_an_error(which, tokenizer, tmp_path):
    rows = examples(8)
    long = [{**row, "prompt": [{"role": "user", "content": "very long " * 80}]} for row in rows]
    tuning = Tuning(rows=long, held_out=rows) if which == "to tune on" else Tuning(rows=rows, held_out=long)
    config = TrainConfig(steps=1, batch_size=4, max_length=96)
    with pytest.raises(DataError, match=rf"rows {which} with some of their answer within 96 tokens.*none of 8.*Raise"):
        fine_tune(tiny_llama(len(tokenizer)), tokenizer, tuning, config, output=tmp_path / "a")
    with pytest.raises(DataError, match=r"within 96 tokens in task, found none of 8: the shortest prompt has.*Raise"):
        check_rows(tokenizer, "task", long, max_length=96)
