"""Probe: can a linear classifier tell malicious from benign prompts by their features?

Source: the "security feature classifier" of Du et al. 2024, arXiv 2410.04524, section 3. The split holds out whole
templates and whole word pairs, so the probe cannot pass by recognising words.
Shapes: n prompts, d hidden size.
"""

import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from securetune.data.prompts import Prompt
from securetune.errors import ProbeError

T = TypeVar("T", bound=Hashable)

HELD_OUT_FRACTION = 0.3
FEWEST = 2
"""Prompts of a kind of which one can be held out."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Row numbers of the training set and of each test set."""

    train: list[int]
    tests: dict[str, list[int]]
    """``both`` (unseen template and pair), ``template`` and ``pair`` (only that unseen), or ``random``."""

    @property
    def unseen(self) -> list[int]:
        """Rows of all test sets together, in order."""
        return sorted(i for rows in self.tests.values() for i in rows)


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """Logistic regression on standardised features; class 1 is malicious."""

    mean: Float[ndarray, " d"]
    scale: Float[ndarray, " d"]
    weight: Float[ndarray, " d"]
    bias: float

    def to_dict(self) -> dict[str, object]:
        """Plain data for an artifact."""
        return {name: value if isinstance(value, float) else value.tolist() for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LinearProbe":
        """Inverse of `to_dict`."""
        return cls(bias=data["bias"], **{name: np.array(data[name]) for name in ("mean", "scale", "weight")})

    def score(self, hidden: Float[ndarray, "n d"]) -> Float[ndarray, " n"]:
        """Signed margin (logit) of each prompt; positive means malicious."""
        margins: ndarray = ((hidden - self.mean) / self.scale) @ self.weight + self.bias
        return margins

    def right(self, hidden: Float[ndarray, "n d"], labels: Int[ndarray, " n"]) -> Bool[ndarray, " n"]:
        """Whether each prompt is on the right side of the probe."""
        is_right: ndarray = (self.score(hidden) > 0) == (labels == 1)
        return is_right

    def accuracy(self, hidden: Float[ndarray, "n d"], labels: Int[ndarray, " n"]) -> float:
        """Share of prompts on the right side of the probe."""
        return float(self.right(hidden, labels).mean())

    def auroc(self, hidden: Float[ndarray, "n d"], labels: Int[ndarray, " n"]) -> float:
        """Area under the ROC curve, malicious against benign: Mann and Whitney's U over the number of pairs."""
        malicious = labels == 1
        ranks, n = rankdata(self.score(hidden)), malicious.sum()
        return float((ranks[malicious].sum() - n * (n + 1) / 2) / (n * (len(labels) - n)))


def fit_probe(hidden: Float[ndarray, "n d"], labels: Int[ndarray, " n"], *, l2: float = 1.0) -> LinearProbe:
    """Fit by L2-regularised maximum likelihood (scikit-learn's `C` = 1 / `l2`).

    Raises:
        ProbeError: one class only, or features that are not finite.
    """
    _check(hidden, labels)
    mean, scale = hidden.mean(0), hidden.std(0) + 1e-6
    model = LogisticRegression(C=1 / l2, max_iter=2000).fit((hidden - mean) / scale, labels)
    return LinearProbe(mean=mean, scale=scale, weight=model.coef_[0], bias=float(model.intercept_[0]))


def fit_sigmoid_probe(
    hidden: Float[ndarray, "n d"], labels: Int[ndarray, " n"], *, steps: int = 500, rate: float = 1e-2, seed: int = 0
) -> LinearProbe:
    """Fit the paper's probe: one linear layer and a sigmoid on the raw features, cross-entropy, Adam on all rows.

    Steps and rate are our choice; the paper gives neither.

    Raises:
        ProbeError: one class only, or features that are not finite.
    """
    _check(hidden, labels)
    x, y = torch.from_numpy(hidden).float(), torch.from_numpy(labels).float()
    spread = 1 / hidden.shape[1] ** 0.5
    weight = torch.empty(hidden.shape[1]).uniform_(-spread, spread, generator=torch.Generator().manual_seed(seed))
    bias = torch.zeros(())
    optimizer = torch.optim.Adam([weight.requires_grad_(), bias.requires_grad_()], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ weight + bias, y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    raw = np.zeros(hidden.shape[1]), np.ones(hidden.shape[1])
    return LinearProbe(mean=raw[0], scale=raw[1], weight=weight.detach().numpy(), bias=float(bias.detach()))


def _check(hidden: ndarray, labels: ndarray) -> None:
    if len(set(labels.tolist())) != 2:
        raise ProbeError(f"Expected malicious and benign prompts to fit a probe, found labels {set(labels.tolist())}.")
    if not np.isfinite(hidden).all():
        raise ProbeError("Expected finite features, found NaN or infinity. Load the model in bfloat16 or float32.")


def split_prompts(prompts: Sequence[Prompt], labels: Sequence[int], *, seed: int) -> Split:
    """Hold out a share of templates and of word pairs; without either, a random share of each class.

    A row with a held-out template or pair never trains. Pairs are held out within each class.

    Raises:
        ProbeError: too few prompts to leave both classes on both sides.
    """
    for label, name in ((1, "malicious"), (0, "benign")):
        if (count := list(labels).count(label)) < FEWEST:
            raise ProbeError(
                f"Expected at least {FEWEST} {name} prompts, as a probe is fitted on some and tested on others, found "
                f"{count}. Give more in `analysis.{name}` (100 is a good start)."
            )
    rng = random.Random(seed)
    if all(p.template is not None and p.pair is not None for p in prompts):
        templates = _pick({p.template for p in prompts}, rng)
        pairs = set()
        for label in (0, 1):
            pairs |= _pick({p.pair for p, own in zip(prompts, labels, strict=True) if own == label}, rng)
        kinds = {(False, False): "train", (True, False): "template", (False, True): "pair", (True, True): "both"}
        names = [kinds[p.template in templates, p.pair in pairs] for p in prompts]
    else:
        held_out: set[int] = set()
        for label in (0, 1):
            held_out |= _pick({i for i, own in enumerate(labels) if own == label}, rng)
        names = ["random" if i in held_out else "train" for i in range(len(prompts))]
    groups: dict[str, list[int]] = {"train": []}
    for i, name in enumerate(names):
        groups.setdefault(name, []).append(i)
    for name, rows in groups.items():
        if {labels[i] for i in rows} != {0, 1}:
            raise ProbeError(
                f"Expected malicious and benign prompts in the probe's {name!r} part, found {len(rows)} of one kind "
                f"among {len(prompts)} prompts. Give more prompts (100 of each kind is a good start)."
            )
    return Split(train=groups.pop("train"), tests=groups)


def _pick(values: set[T], rng: random.Random) -> set[T]:
    ordered = sorted(values, key=str)
    return set(rng.sample(ordered, max(1, round(len(ordered) * HELD_OUT_FRACTION))))
