"""Pareto: which of several models does no other one beat, where safety and skill are traded against each other?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Traded(Protocol):
    """Whatever has a skill and an attack success rate."""

    @property
    def skill(self) -> float:
        """More is better."""

    @property
    def asr(self) -> float:
        """Attack success rate on its worst harmful set; less is better."""


@dataclass(frozen=True, kw_only=True)
class Tradeoff:
    """One model with both, under the name it has in a figure."""

    title: str
    skill: float
    asr: float


def on_front(models: Sequence[Traded]) -> list[bool]:
    """Whether no other model has at most the ASR and at least the skill, and one of them better."""

    def beats(model: Traded, other: Traded) -> bool:
        is_as_good = model.asr <= other.asr and model.skill >= other.skill
        return is_as_good and (model.asr < other.asr or model.skill > other.skill)

    return [not any(beats(other, model) for other in models) for model in models]
