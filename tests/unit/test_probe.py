"""Probe: what is it fitted on, and what does it separate?"""

import random

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from securetune.data.prompts import Prompt
from securetune.errors import ProbeError
from securetune.scan.probe import fit_probe, split_prompts
from securetune.testbed.world import (
    sample_requests,
)


def test_probe_split_shares_no_template_and_no_pair_with_the_both_part():
    rng = random.Random(0)
    prompts, labels = [], []
    for label, intent in ((1, "harmful"), (0, "benign")):
        for r in sample_requests(intent, 200, rng, held_out_pairs=None, held_out_phrasings=None):
            prompts.append(Prompt(text=r.text, id="x", template=r.phrasing, pair=r.pair))
            labels.append(label)
    split = split_prompts(prompts, labels, seed=0)
    assert sorted([*split.train, *(i for rows in split.tests.values() for i in rows)]) == list(range(400))
    for field in ("template", "pair"):
        seen = {getattr(prompts[i], field) for i in split.train}
        assert not seen & {getattr(prompts[i], field) for i in split.tests["both"]}
    assert not {prompts[i].pair for i in split.train} & {prompts[i].pair for i in split.tests["pair"]}


def test_probe_separates_what_is_separable_and_only_that():
    rng = np.random.default_rng(0)
    labels = np.array([1] * 50 + [0] * 50)
    features = rng.normal(size=(100, 5)) + labels[:, None] * 4
    probe = fit_probe(features, labels)
    assert probe.accuracy(features, labels) > 0.98
    assert probe.auroc(features, labels) == roc_auc_score(labels, probe.score(features))
    noise = rng.normal(size=(400, 5))
    assert abs(probe.auroc(noise, np.array([1, 0] * 200)) - 0.5) < 0.1
    with pytest.raises(ProbeError, match="malicious and benign"):
        fit_probe(features, np.ones(100))
