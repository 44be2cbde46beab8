"""Controls: which concepts that have nothing to do with safety can be read off the same prompts?

If a perturbation costs the safety probe no more than it costs a probe for the length of the prompt, the module is not
safety's, the damage is general. Answers an objection to Du et al. 2024 (arXiv 2410.04524).
Shapes: n prompts.
"""

import statistics
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

CONCEPTS: dict[str, Callable[[str], float]] = {
    "question": lambda text: text.rstrip().endswith("?"),
    "length": lambda text: len(text.split()),
    "long_words": lambda text: statistics.fmean(len(word) for word in text.split() or [""]),
    "long_first_word": lambda text: len(text.split()[0]) if text.split() else 0,
    "indefinite_article": lambda text: bool({"a", "an"} & set(text.lower().split())),
}
"""Name -> value of a prompt; the concept is that the value lies above the median (or is true)."""

SMALLEST_SHARE = 0.2
LARGEST_PHI = 0.5
READABLE_AUROC = 0.7
"""A control probe that does worse on unseen prompts has nothing to lose, and is not used."""


def control_labels(texts: Sequence[str], malicious: Int[ndarray, " n"]) -> dict[str, Bool[ndarray, " n"]]:
    """Labels of every concept that can serve as a control for these prompts.

    Left out is a concept with fewer than `SMALLEST_SHARE` of the prompts on one side, and one that goes along with
    malice (absolute phi coefficient above `LARGEST_PHI`): it would be a second safety label.
    """
    controls = {}
    for name, value in CONCEPTS.items():
        values = np.array([float(value(text)) for text in texts])
        labels = values > (0.5 if set(values.tolist()) <= {0.0, 1.0} else np.median(values))
        if SMALLEST_SHARE <= labels.mean() <= 1 - SMALLEST_SHARE:
            phi = np.corrcoef(labels, malicious)[0, 1]
            if abs(phi) <= LARGEST_PHI:
                controls[name] = labels
    return controls
