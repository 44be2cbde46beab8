"""Drawing: how is an answer drawn, and not the likeliest one taken?

Every answer has random numbers of its own, which follow from its prompt and from how many answers to it were drawn
before. So they do not depend on what else is in the batch, and a model before tuning and one after it are given the
same ones: where the two models do not differ, nor do their answers.
Shapes: b rows, t tokens, v vocabulary.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor

_BELOW_ONE = 1 - 2**-24
"""The largest float32 below 1."""


@dataclass(frozen=True)
class Drawn:
    """Which one of the answers that are drawn to a text this is."""

    text: str
    number: int
    temperature: float

    @property
    def name(self) -> str:
        """What its random numbers follow from."""
        return f"{self.temperature!r} {self.number} {self.text}"

    def numbers(self) -> random.Random:
        """Its random numbers, from the first."""
        return random.Random(self.name)


def draws(texts: Sequence[str], temperature: float) -> list[Drawn | None]:
    """One per text, the same text counted up; all None at a temperature of zero, which takes the likeliest token."""
    if temperature == 0:
        return [None] * len(texts)
    seen: Counter[str] = Counter()
    found: list[Drawn | None] = []
    for text in texts:
        found.append(Drawn(text, seen[text], temperature))
        seen[text] += 1
    return found


def chosen(
    logits: Float[Tensor, "b v"], numbers: Sequence[random.Random] | None, temperature: float
) -> Int[Tensor, " b"]:
    """The next token of every row: without numbers the likeliest, else drawn at the temperature."""
    if numbers is None:
        return logits.argmax(-1)
    shares = (logits.float() / temperature).softmax(-1).cumsum(-1)
    points = torch.tensor([[min(own.random(), _BELOW_ONE)] for own in numbers], device=logits.device)
    return torch.searchsorted(shares, points * shares[:, -1:], right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


class Choose(LogitsProcessor):  # type: ignore[misc]
    """Leaves a model's own greedy `generate` nothing but the token that is drawn."""

    def __init__(self, numbers: Sequence[random.Random], temperature: float) -> None:
        self._numbers, self._temperature = numbers, temperature

    def __call__(self, input_ids: Int[Tensor, "b t"], scores: Float[Tensor, "b v"]) -> Float[Tensor, "b v"]:
        """Everything but one token of every row is impossible."""
        del input_ids
        tokens = chosen(scores, self._numbers, self._temperature)[:, None]
        return torch.full_like(scores, -torch.inf).scatter(1, tokens, 0.0)
