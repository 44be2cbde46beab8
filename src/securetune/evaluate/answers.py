"""Answers: what the model said to each prompt, and how likely it was to refuse."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.data.prompts import Example, render
from securetune.evaluate.generation import Decoding, generate


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
    """One prompt with the model's greedy answer."""

    prompt: str
    text: str
    margin: float | None = None
    """Refusal margin at the first answer token, in nats; positive leans to refusing."""


def questions(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], *, system: str | None = None
) -> list[Question]:
    """Prompts as they are, through the chat template."""
    texts = render(tokenizer, prompts, system=system)
    return [Question(prompt=prompt, text=text) for prompt, text in zip(prompts, texts, strict=True)]


def questions_of(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Example], *, system: str | None = None
) -> list[Question]:
    """What rows of the task ask, with their own system prompt and earlier turns.

    `system` stands above a row's own system prompt, in the same turn.
    """
    asked = []
    for row in rows:
        *turns, last = row["prompt"]
        own = turns.pop(0)["content"] if turns and turns[0]["role"] == "system" else None
        whole = "\n\n".join(part for part in (system, own) if part) or None
        text = render(tokenizer, [last["content"]], system=whole, turns=turns)[0]
        asked.append(Question(prompt=last["content"], text=text))
    return asked


def generate_answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question], decoding: Decoding
) -> list[Answer]:
    """Greedy answers in the order of the questions."""
    generated = generate(model, tokenizer, [question.text for question in questions], decoding)
    return [
        Answer(
            prompt=question.prompt,
            text=f"{question.prefill} {answer.text}" if question.prefill else answer.text,
            margin=answer.margin,
        )
        for question, answer in zip(questions, generated, strict=True)
    ]


def reference(example: Example) -> Answer:
    """The right answer to a row of the task."""
    return Answer(prompt=example["prompt"][-1]["content"], text=example["completion"][0]["content"])
