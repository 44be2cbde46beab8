"""Fit the probe and test it on unseen templates and word pairs.

On which prompts is the probe right, would another fit or layer be, and what else can be read?
Source: Du et al. 2024, arXiv 2410.04524, section 3, uses a linear network with a sigmoid on the last layer; ours is
logistic regression, and the two stand side by side here.
Shapes: l layers, n prompts, d hidden size.
"""

from collections.abc import Sequence
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
from securetune.measures.kinds import HARMFUL
from securetune.measures.statistics import proportion
from securetune.models.features import PromptBatch, extract_features, extract_layer_states
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

    def findings(self) -> ProbeFindings:
        """Everything."""
        hidden, labels, split = self.hidden, self.labels, self.split
        texts = [prompt.text for prompt in self.session.prompts.all]
        states = [hidden, hidden, *_layer_states(self.session, prompt_batches(self.session, texts, self.lead))]
        fitted, sigmoid, *of_layers = (own[split.train] for own in states)
        known = labels[split.train]
        probe, seed = fit_probe(fitted, known), self.session.config.seed
        probes = [probe, fit_sigmoid_probe(sigmoid, known, seed=seed), *(fit_probe(own, known) for own in of_layers)]
        scores, of_sigmoid, *by_layer = (
            ProbeScores(tests=_tests(fit, own, labels, split), transfer=transfer)
            for fit, own, transfer in zip(probes, states, self._transfers(probes), strict=True)
        )
        concepts = control_labels(texts, labels)
        return ProbeFindings(
            tests=scores.tests,
            transfer=scores.transfer,
            sigmoid=of_sigmoid,
            layers=by_layer,
            split=PromptSplit(**asdict(split)),
            probe=probe.to_dict(),
            controls={name: _control(hidden, concept, split) for name, concept in concepts.items()},
        )

    def _transfers(self, probes: Sequence[LinearProbe]) -> list[list[Transfer]]:
        """How every probe does on every benchmark: two on what the output embedding sees, then one for every layer."""
        transfers: list[list[Transfer]] = [[] for _ in probes]
        for benchmark in self.session.benchmarks:
            right: list[list[bool]] = [[] for _ in probes]
            texts = [prompt.text for prompt in benchmark.prompts]
            for batch in prompt_batches(self.session, texts, self.lead):  # nobody holds the states of a large set
                last = extract_features(self.session.base_model(), [batch]).hidden.numpy()
                labels = np.full(len(last), benchmark.kind is HARMFUL)
                states = [last, last, *_layer_states(self.session, [batch])]
                for own, probe, hidden in zip(right, probes, states, strict=True):
                    own += probe.right(hidden, labels).tolist()
            for of_probe, own in zip(transfers, right, strict=True):
                of_probe.append(Transfer(benchmark=benchmark.name, kind=benchmark.kind, accuracy=proportion(own)))
        return transfers


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


def _control(hidden: ndarray, concept: ndarray, split: Split) -> Control:
    """A probe for a control concept, and how well it reads the concept off unseen prompts."""
    fitted = fit_probe(hidden[split.train], concept[split.train].astype(int))
    auroc = fitted.auroc(hidden[split.unseen], concept[split.unseen])
    return Control(auroc=auroc, labels=concept.tolist(), probe=fitted.to_dict())


def _layer_states(session: Session, batches: Sequence[PromptBatch]) -> Float[ndarray, "l n d"]:
    states: ndarray = extract_layer_states(session.base_model(), batches).numpy()
    return states


stage = Stage(version=5, depends=depends, compute=compute)
