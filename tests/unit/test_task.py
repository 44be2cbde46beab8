"""Task: a row is asked as it would be trained, with its own system prompt and earlier turns."""

import pytest

from securetune.data.prompts import Example
from securetune.evaluate.config import EvaluateConfig
from securetune.evaluate.generation import Decoding, Generated
from securetune.evaluate.task import Task, evaluate_task, task_questions

SYSTEM = {"role": "system", "content": "be brief"}
EARLIER = [{"role": "user", "content": "open the box"}, {"role": "assistant", "content": "done"}]
LAST = {"role": "user", "content": "paint it"}
HEADS = [[], [SYSTEM], EARLIER, [SYSTEM, *EARLIER]]


def row(head) -> Example:
    return {"prompt": [*head, LAST], "completion": [{"role": "assistant", "content": "done"}]}


@pytest.mark.parametrize("head", HEADS)
def test_a_row_is_asked_in_the_words_it_is_trained_in(head, tokenizer):
    (question,) = task_questions(tokenizer, [row(head)])
    assert question.prompt == LAST["content"]
    assert question.text == tokenizer.apply_chat_template([*head, LAST], tokenize=False, add_generation_prompt=True)


def test_a_system_prompt_for_all_stands_above_that_of_a_row(tokenizer):
    questions = task_questions(tokenizer, [row([SYSTEM]), row([])], system="be safe")
    for question, text in zip(questions, ("be safe\n\nbe brief", "be safe"), strict=True):
        whole = [{"role": "system", "content": text}, LAST]
        assert question.text == tokenizer.apply_chat_template(whole, tokenize=False, add_generation_prompt=True)


def test_the_score_of_a_task_is_measured_on_whole_rows(model, tokenizer, monkeypatch):
    asked = []

    def generate(model, tokenizer, texts, decoding: Decoding):
        asked.extend(texts)
        return [Generated(text="done", margin=None) for _ in texts]

    monkeypatch.setattr("securetune.evaluate.answers.generate", generate)
    task = Task(rows=[row(head) for head in HEADS], metric="exact_match", max_length=256)
    result = evaluate_task(model, tokenizer, task, EvaluateConfig())
    assert result.score.value == 1.0
    assert asked == [question.text for question in task_questions(tokenizer, task.rows)]
    assert len(set(asked)) == len(HEADS)
