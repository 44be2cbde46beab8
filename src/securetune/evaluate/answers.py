"""Answers: what the model said to each prompt, and how likely it was to refuse."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.data.prompts import Example, render
from securetune.evaluate.generation import Decoding, generate

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One prompt in the form in which the model reads it."""

    prompt: str
    """What the answer belongs to."""
    text: str
    """What the model goes on from: all that stands around the prompt, and the prefill, are in it."""
    prefill: str = ""
    """What the text ends with and the answer begins with; counts as part of it."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One prompt with the model's answer."""

    prompt: str
    text: str
    """The answer itself, after any reasoning; empty where that was cut."""
    margin: float | None = None
    """Refusal margin at the first answer token, in nats; positive leans to refusing. None where it means nothing."""
    reasoning: str = ""
    """What the model thought before it answered, with the marks around it."""
    is_cut: bool = False
    """Whether its reasoning never ended: no answer, neither success nor refusal."""


def questions(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], *, system: str | None = None
) -> list[Question]:
    """Prompts as they are, through the chat template."""
    texts = render(tokenizer, prompts, system=system)
    return [Question(prompt=prompt, text=text) for prompt, text in zip(prompts, texts, strict=True)]


def generate_answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question], decoding: Decoding
) -> list[Answer]:
    """Answers in the order of the questions.

    One that was begun for the model has no margin: its first token is not where the model decides.
    """
    generated = generate(model, tokenizer, [question.text for question in questions], decoding)
    answers = [
        Answer(
            prompt=question.prompt,
            text=f"{question.prefill} {answer.text}" if question.prefill else answer.text,
            margin=None if question.prefill else answer.margin,
            reasoning=answer.reasoning,
            is_cut=answer.is_cut,
        )
        for question, answer in zip(questions, generated, strict=True)
    ]
    tell_of_cut(answers, decoding.description, decoding.max_new_tokens)
    return answers


def tell_of_cut(answers: Sequence[Answer], benchmark: str | None, max_new_tokens: int) -> None:
    """Log how many answers are none because their reasoning was cut."""
    cut = sum(answer.is_cut for answer in answers)
    if cut:
        _log.warning(
            "%d of %d answers%s ended within their reasoning, after at most %d tokens: they count as no answer. Raise "
            "evaluate.max_new_tokens and evaluate.task_max_new_tokens, or have the model not think, see "
            "model.chat_template_kwargs.",
            cut,
            len(answers),
            f" to {benchmark}" if benchmark else "",
            max_new_tokens,
        )


def reference(example: Example) -> Answer:
    """The right answer to a row of the task."""
    return Answer(prompt=example["prompt"][-1]["content"], text=example["completion"][0]["content"])
