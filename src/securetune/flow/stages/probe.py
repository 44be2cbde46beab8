"""Fit the probe and test it on unseen templates and word pairs.

On which prompts is the probe right, would another fit or layer be, and what else can be read?
Source: Du et al. 2024, arXiv 2410.04524, section 3, uses a linear network with a sigmoid on the last layer; ours is
logistic regression, and the two stand side by side here.
Shapes: l layers, n prompts, d hidden size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from safetensors.torch import load_file

from securetune.base.artifacts import Product
from securetune.base.fingerprint import fingerprint
from securetune.base.typed import to_json
from securetune.flow.analysis import prompt_batches
from securetune.flow.session import Session
from securetune.flow.stages.base.stage import Inputs, Stage, Work
from securetune.measures.kinds import HARMFUL, Kind
from securetune.measures.statistics import Estimate, proportion
from securetune.models.features import extract_features, extract_layer_states
from securetune.scan.controls import control_labels
from securetune.scan.findings import Control, ProbeFindings, ProbeScores, ProbeTest, PromptSplit, Transfer
from securetune.scan.probe import LinearProbe, Split, fit_probe, fit_sigmoid_probe, split_prompts


def depends(work: Work) -> Inputs:
    """The features, and the benchmarks on which the probe is tested too."""
    session = work.session
    return {
        "features": work.made.digest("features"),
        "model": session.model_fingerprint,
        "benchmarks": fingerprint(session.benchmarks),
        "seed": str(session.config.seed),
    }


def compute(work: Work) -> Product:
    """The probe, its tests, the same of other fits and of every layer, and the control concepts."""
    file = work.session.folder.file("features", suffix=".safetensors")
    hidden: ndarray = load_file(file)["hidden"].numpy()
    return Product(data=to_json(_Examination(work.session, hidden, work.made.openings.lead).findings()))


@dataclass(frozen=True, kw_only=True)
class _States:
    """Last-token states of n prompts: what the output embedding sees, and after every layer."""

    last: Float[ndarray, "n d"]
    layers: Float[ndarray, "l n d"]


@dataclass(frozen=True)
class _Examination:
    """All fits and tests on the same rows."""

    session: Session
    hidden: Float[ndarray, "n d"]
    """Features of the analysis prompts."""
    lead: tuple[int, ...]
    """What follows every prompt, see `Openings.lead`."""

    @cached_property
    def labels(self) -> ndarray:
        """1 for malicious, 0 for benign prompts."""
        return np.array(self.session.prompts.labels)

    @cached_property
    def split(self) -> Split:
        """Which prompts a probe is fitted on, and which it has not seen."""
        prompts, labels = self.session.prompts.all, self.labels.tolist()
        return split_prompts(prompts, labels, seed=self.session.config.seed)

    @cached_property
    def here(self) -> _States:
        """The states of the analysis prompts."""
        texts = [prompt.text for prompt in self.session.prompts.all]
        return _States(last=self.hidden, layers=_layer_states(self.session, texts, self.lead))

    @cached_property
    def elsewhere(self) -> Mapping[tuple[str, Kind], _States]:
        """The states of every benchmark's prompts."""
        sets = {(b.name, b.kind): [prompt.text for prompt in b.prompts] for b in self.session.benchmarks}
        return {key: _states(self.session, texts, self.lead) for key, texts in sets.items()}

    def findings(self) -> ProbeFindings:
        """Everything."""
        hidden, labels, split = self.hidden, self.labels, self.split
        fitted = fit_probe(hidden[split.train], labels[split.train])
        sigmoid = fit_sigmoid_probe(hidden[split.train], labels[split.train], seed=self.session.config.seed)
        concepts = control_labels([prompt.text for prompt in self.session.prompts.all], labels)
        scores = self._scores(fitted, lambda states: states.last)
        return ProbeFindings(
            tests=scores.tests,
            transfer=scores.transfer,
            sigmoid=self._scores(sigmoid, lambda states: states.last),
            layers=[self._scores_of_layer(layer) for layer in range(len(self.here.layers))],
            split=PromptSplit(**asdict(split)),
            probe=fitted.to_dict(),
            controls={name: _control(hidden, concept, split) for name, concept in concepts.items()},
        )

    def _scores_of_layer(self, layer: int) -> ProbeScores:
        hidden, rows = self.here.layers[layer], self.split.train
        return self._scores(fit_probe(hidden[rows], self.labels[rows]), lambda states: states.layers[layer])

    def _scores(self, fitted: LinearProbe, pick: Callable[[_States], ndarray]) -> ProbeScores:
        return ProbeScores(
            tests=_tests(fitted, pick(self.here), self.labels, self.split),
            transfer=[
                Transfer(benchmark=name, kind=kind, accuracy=_right(fitted, pick(states), kind))
                for (name, kind), states in self.elsewhere.items()
            ],
        )


def _tests(fitted: LinearProbe, hidden: ndarray, labels: ndarray, split: Split) -> dict[str, ProbeTest]:
    """Accuracy and AUROC on the rows it was fitted on and on every unseen part."""
    return {
        name: ProbeTest(
            n=len(rows),
            accuracy=fitted.accuracy(hidden[rows], labels[rows]),
            auroc=fitted.auroc(hidden[rows], labels[rows]),
        )
        for name, rows in {"train": split.train, **split.tests}.items()
    }


def _right(fitted: LinearProbe, hidden: ndarray, kind: Kind) -> Estimate:
    """The share of a benchmark's prompts that the probe puts on the right side."""
    return proportion(fitted.right(hidden, np.full(len(hidden), kind is HARMFUL)).tolist())


def _control(hidden: ndarray, concept: ndarray, split: Split) -> Control:
    """A probe for a control concept, and how well it reads the concept off unseen prompts."""
    fitted = fit_probe(hidden[split.train], concept[split.train].astype(int))
    auroc = fitted.auroc(hidden[split.unseen], concept[split.unseen])
    return Control(auroc=auroc, labels=concept.tolist(), probe=fitted.to_dict())


def _states(session: Session, texts: list[str], lead: Sequence[int]) -> _States:
    last = extract_features(session.base_model(), prompt_batches(session, texts, lead)).hidden.numpy()
    return _States(last=last, layers=_layer_states(session, texts, lead))


def _layer_states(session: Session, texts: list[str], lead: Sequence[int]) -> Float[ndarray, "l n d"]:
    states: ndarray = extract_layer_states(session.base_model(), prompt_batches(session, texts, lead)).numpy()
    return states


stage = Stage(version=5, depends=depends, compute=compute)
