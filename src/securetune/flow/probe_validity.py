"""Probe validity: on which prompts is the probe right, would another fit or layer be, and what else can be read?

Source: Du et al. 2024, arXiv 2410.04524, section 3, uses a linear network with a sigmoid on the last layer; ours is
logistic regression, and the two stand side by side here.
Shapes: l layers, n prompts, d hidden size.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from securetune.flow.scan_setup import prompt_batches
from securetune.flow.session import Session
from securetune.measures.statistics import proportion
from securetune.models.features import extract_features, extract_layer_states
from securetune.scan.controls import control_labels
from securetune.scan.probe import LinearProbe, Split, fit_probe, fit_sigmoid_probe, split_prompts


@dataclass(frozen=True, kw_only=True)
class _States:
    """Last-token states of n prompts: what the output embedding sees, and after every layer."""

    last: Float[ndarray, "n d"]
    layers: Float[ndarray, "l n d"]


def probe_findings(session: Session, hidden: Float[ndarray, "n d"]) -> dict[str, Any]:
    """The probe, its tests, the same of a linear network with a sigmoid and of every layer, and the control concepts.

    `hidden` holds the features of the analysis prompts. All fits and tests use the same rows.
    """
    prompts, labels = session.prompts.all, np.array(session.prompts.labels)
    split = split_prompts(prompts, labels.tolist(), seed=session.config.seed)
    texts = [prompt.text for prompt in prompts]
    here = _States(last=hidden, layers=_layer_states(session, texts))
    elsewhere = {b.name: _states(session, [prompt.text for prompt in b.prompts]) for b in session.benchmarks}
    kinds = {b.name: b.kind.name for b in session.benchmarks}

    def tested(fitted: LinearProbe, pick: Callable[[_States], ndarray]) -> dict[str, Any]:
        return {
            "tests": _tests(fitted, pick(here), labels, split),
            "transfer": [
                {"benchmark": name, "kind": kinds[name], "accuracy": _right(fitted, pick(states), kinds[name])}
                for name, states in elsewhere.items()
            ],
        }

    def of_layer(layer: int) -> dict[str, Any]:
        states = here.layers[layer]
        return tested(fit_probe(states[split.train], labels[split.train]), lambda found: found.layers[layer])

    fitted = fit_probe(hidden[split.train], labels[split.train])
    sigmoid = fit_sigmoid_probe(hidden[split.train], labels[split.train], seed=session.config.seed)
    concepts = control_labels(texts, labels)
    return {
        **tested(fitted, lambda states: states.last),
        "sigmoid": tested(sigmoid, lambda states: states.last),
        "layers": [of_layer(layer) for layer in range(len(here.layers))],
        "split": asdict(split),
        "probe": fitted.to_dict(),
        "controls": {name: _control(hidden, concept, split) for name, concept in concepts.items()},
    }


def _tests(probe: LinearProbe, hidden: ndarray, labels: ndarray, split: Split) -> dict[str, Mapping[str, float]]:
    """Accuracy and AUROC on the rows it was fitted on and on every unseen part."""
    return {
        name: {
            "n": len(rows),
            "accuracy": probe.accuracy(hidden[rows], labels[rows]),
            "auroc": probe.auroc(hidden[rows], labels[rows]),
        }
        for name, rows in {"train": split.train, **split.tests}.items()
    }


def _right(probe: LinearProbe, hidden: ndarray, kind: str) -> dict[str, Any]:
    """The share of a benchmark's prompts that the probe puts on the right side."""
    return asdict(proportion(probe.right(hidden, np.full(len(hidden), kind == "harmful")).tolist()))


def _control(hidden: ndarray, concept: ndarray, split: Split) -> dict[str, Any]:
    """A probe for a control concept, and how well it reads the concept off unseen prompts."""
    fitted = fit_probe(hidden[split.train], concept[split.train].astype(int))
    auroc = fitted.auroc(hidden[split.unseen], concept[split.unseen])
    return {"auroc": auroc, "labels": concept.tolist(), "probe": fitted.to_dict()}


def _states(session: Session, texts: list[str]) -> _States:
    last = extract_features(session.base_model(), prompt_batches(session, texts)).hidden.numpy()
    return _States(last=last, layers=_layer_states(session, texts))


def _layer_states(session: Session, texts: list[str]) -> Float[ndarray, "l n d"]:
    states: ndarray = extract_layer_states(session.base_model(), prompt_batches(session, texts)).numpy()
    return states
