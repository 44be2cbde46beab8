"""Answers: what the model said to each prompt, and how likely it was to refuse."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.artifacts import Journal
from securetune.data.prompts import Example, render
from securetune.evaluate.generation import generate
from securetune.models.openings import Openings


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One prompt with the model's greedy answer."""

    prompt: str
    text: str
    margin: float | None = None
    """Refusal margin at the first answer token, in nats; positive leans to refusing."""


def reference(example: Example) -> Answer:
    """The right answer to a row of the task."""
    return Answer(prompt=example["prompt"][-1]["content"], text=example["completion"][0]["content"])


def generate_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    openings: Openings | None = None,
    system: str | None = None,
    texts: Sequence[str] | None = None,
    prefill: str = "",
    decided: Callable[[str], bool] | None = None,
    known: Journal | None = None,
    description: str | None = "Answers",
) -> list[Answer]:
    """Greedy answers in the order of `prompts`.

    Args:
        model: a causal LM.
        tokenizer: its tokenizer.
        prompts: what the answers belong to.
        max_new_tokens: longest answer.
        batch_size: most answers at once.
        openings: first tokens of refusals and compliance; without them no margin.
        system: system prompt.
        texts: what the model reads, where that is more than the prompts through the chat template.
        prefill: what the texts end with and the answer begins with; counts as part of it.
        decided: whether the start of an answer settles its verdict.
        known: answers of this very model that are there already.
        description: text of the progress bar; None for none.
    """
    said = generate(
        model,
        tokenizer,
        texts if texts is not None else render(tokenizer, prompts, system=system),
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        openings=openings,
        decided=decided,
        known=known,
        description=description,
    )
    joint = f"{prefill} " if prefill else ""
    return [Answer(prompt=p, text=joint + s.text, margin=s.margin) for p, s in zip(prompts, said, strict=True)]
