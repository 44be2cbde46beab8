"""Result: what a search found, and every set it measured on the way."""

from dataclasses import dataclass, field

from securetune.measures.stability import Stability


@dataclass(frozen=True, kw_only=True)
class MeasuredSet:
    """One set of modules, perturbed together."""

    size: int
    drop: float
    """Joint drop of the signal that the search follows, as a share of its range."""
    modules: list[str]
    """Its members, ``layer.role``."""
    drops: dict[str, float]
    """Joint drop of every signal."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The robust set with what it was chosen from."""

    robust: list[str]
    drop: float
    """Its joint drop."""
    tolerance: float
    signal: str
    scores: dict[str, float]
    """Drop of every module alone, in that signal."""
    evaluated: list[MeasuredSet]
    cautions: list[str] = field(default_factory=list)
    """What a user must know before relying on the set, in words."""
    stability: list[Stability] = field(default_factory=list)
    """How far halves of the draws and of the prompts choose the same modules; empty in results of older versions."""
