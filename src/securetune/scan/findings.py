"""Findings: what can be said of a probe, of other fits and layers, and of the control concepts; no torch."""

from dataclasses import dataclass
from typing import Any

from securetune.measures.kinds import KindField
from securetune.measures.statistics import Estimate


@dataclass(frozen=True, kw_only=True)
class ProbeTest:
    """A probe on one part of the analysis prompts."""

    n: int
    accuracy: float
    auroc: float


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A probe on a benchmark's prompts, which it was not fitted on."""

    benchmark: str
    kind: KindField
    accuracy: Estimate
    """Share of the prompts on the right side."""


@dataclass(frozen=True, kw_only=True)
class ProbeScores:
    """One probe on every part and on every benchmark."""

    tests: dict[str, ProbeTest]
    """Part of the analysis prompts, ``train`` among them -> scores."""
    transfer: list[Transfer]


@dataclass(frozen=True, kw_only=True)
class Control:
    """A probe for a harmless concept."""

    auroc: float
    """On unseen prompts."""
    labels: list[bool]
    probe: dict[str, Any]
    """`LinearProbe.to_dict`."""


@dataclass(frozen=True, kw_only=True)
class PromptSplit:
    """Row numbers of the training set and of each test set."""

    train: list[int]
    tests: dict[str, list[int]]


@dataclass(frozen=True, kw_only=True)
class ProbeFindings(ProbeScores):
    """The probe that the scan uses, and what it was compared with."""

    sigmoid: ProbeScores
    """The paper's: a linear network with a sigmoid, fitted by gradient descent on the same rows."""
    layers: list[ProbeScores]
    """A logistic regression on every layer's states."""
    split: PromptSplit
    probe: dict[str, Any]
    """`LinearProbe.to_dict`."""
    controls: dict[str, Control]
