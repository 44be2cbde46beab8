"""Task: does the model do what it is tuned for?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.artifacts import Journal
from securetune.base.patterns import matches_whole
from securetune.data.prompts import Example, render_turns, under_system
from securetune.evaluate.answers import Answer, Question, generate_answers
from securetune.evaluate.config import EvaluateConfig, Metric
from securetune.evaluate.generation import Decoding
from securetune.evaluate.losses import answer_loss
from securetune.evaluate.result import TaskAnswer, TaskResult
from securetune.measures.statistics import proportion

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class Task:
    """The task that a model is tuned for: its held-out rows, and how an answer to them is scored."""

    rows: Sequence[Example]
    metric: Metric | None
    """How an answer is compared with the right one; None for the loss alone."""
    pattern: str | None = None
    """What an answer has to match, where the metric is ``pattern``."""
    max_length: int
    """Longest row in tokens, as in tuning."""


def is_correct(answer: Answer, reference: str, metric: Metric, pattern: str | None = None) -> bool:
    """Compare an answer with the reference: the whole text, or the last number in each (GSM8K).

    The metric ``pattern`` asks for a form instead: the whole answer has to match the regular expression `pattern`. An
    answer whose reasoning was cut is none, and not right.
    """
    if answer.is_cut:
        return False
    if metric == "exact_match":
        return answer.text.strip() == reference.strip()
    if metric == "pattern":
        assert pattern is not None, "checked with the configuration"
        return matches_whole(pattern, answer.text.strip())
    numbers = [_NUMBER.findall(text) for text in (answer.text, reference)]
    answered, expected = (float(n[-1].replace(",", "")) if n else None for n in numbers)
    return answered is not None and answered == expected


def task_questions(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Example], *, system: str | None = None
) -> list[Question]:
    """The prompts of rows with all turns before them, as in tuning; a system prompt goes before the row's own."""
    asked = []
    for row in rows:
        text = render_turns(tokenizer, under_system(row["prompt"], system))
        asked.append(Question(prompt=row["prompt"][-1]["content"], text=text))
    return asked


def evaluate_task(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    config: EvaluateConfig,
    *,
    system: str | None = None,
    known: Journal | None = None,
) -> TaskResult:
    """Loss on the held-out answers and, with a metric, the share answered correctly (under a system prompt)."""
    loss = answer_loss(model, tokenizer, task.rows, max_length=task.max_length)
    if task.metric is None:
        return TaskResult(loss=loss, metric=None, score=None)
    decoding = Decoding(
        max_new_tokens=config.task_max_new_tokens, batch_size=config.batch_size, known=known, description="Task"
    )
    answers = generate_answers(model, tokenizer, task_questions(tokenizer, task.rows, system=system), decoding)
    references = [row["completion"][0]["content"] for row in task.rows]
    judged = [
        TaskAnswer(
            prompt=answer.prompt,
            text=answer.text,
            reference=right,
            correct=is_correct(answer, right, task.metric, task.pattern),
        )
        for answer, right in zip(answers, references, strict=True)
    ]
    score = proportion([answer.correct for answer in judged])
    no_answer = proportion([answer.is_cut for answer in answers])
    return TaskResult(loss=loss, metric=task.metric, score=score, no_answer=no_answer, answers=judged)
