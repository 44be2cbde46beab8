"""Ways to scan: what the race, the gradient and a killed scan find is what the exact scan finds."""

import os
import random
import signal
import time

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from securetune.base.artifacts import Journal
from securetune.errors import ScanError
from securetune.models.features import PromptBatch, extract_features, extract_layer_states
from securetune.models.openings import Openings
from securetune.models.reading import read_topology
from securetune.perturb import PERTURBATIONS
from securetune.scan.config import ScanConfig
from securetune.scan.passes import Passes
from securetune.scan.probe import fit_probe
from securetune.scan.race import is_decided, look_sizes
from securetune.scan.scanner import Scanner
from securetune.scan.signals.base.measurer import Signals
from tests.conftest import tiny_llama

PROMPTS = 96
LABELS = np.array([1] * (PROMPTS // 2) + [0] * (PROMPTS // 2))


def batch(ids, index=None):
    mask = torch.ones_like(ids)
    index = list(range(len(ids))) if index is None else index
    return PromptBatch(index=index, input_ids=ids, attention_mask=mask, position_ids=mask.cumsum(-1) - 1)


@pytest.fixture(scope="module")
def make_scanner():
    model = tiny_llama(vocabulary=64, layers=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 32, (PROMPTS, 8), generator=generator) + 32 * torch.from_numpy(LABELS)[:, None]
    clean = extract_features(model, [batch(ids)])
    apart = (clean.logits[LABELS == 1].mean(0) - clean.logits[LABELS == 0].mean(0)).argsort().tolist()
    signals = Signals(
        probe=fit_probe(clean.hidden.numpy(), LABELS),
        openings=Openings(refusal=tuple(apart[-4:]), affirmative=tuple(apart[:4])),
        labels=LABELS,
        clean=clean,
    )

    def make(*, tolerance=0.02, refused=None, **config):
        settings = ScanConfig(strength=0.3, **config)
        perturbation = PERTURBATIONS.get(settings.perturbation)
        passes = Passes(model, read_topology(model), [batch(ids)], perturbation, seed=settings.seed or 0)
        malicious = lambda rows: [batch(ids[list(rows)])]  # noqa: E731
        return Scanner(passes, signals, settings, malicious=malicious, tolerance=tolerance, refused=refused)

    return make


def scan(scanner, folder):
    return scanner.scan(Journal(folder / "journal"))


def test_a_race_ends_on_the_exact_scans_side_and_reads_less(make_scanner, tmp_path):
    exact = scan(make_scanner(), tmp_path).mean("refusal_margin")
    tolerance = float(np.mean(sorted(exact.values())[9:11]))
    (tmp_path / "race").mkdir()
    found = scan(make_scanner(method="race", tolerance=tolerance), tmp_path / "race")
    raced, read = found.mean("refusal_margin"), found.mean("prompts")
    assert {ref for ref in exact if exact[ref] <= tolerance} == {ref for ref in raced if raced[ref] <= tolerance}
    assert min(read.values()) < PROMPTS / 2 and max(read.values()) == PROMPTS / 2
    whole = [ref for ref, n in read.items() if n == PROMPTS / 2]
    assert [raced[ref] for ref in whole] == pytest.approx([exact[ref] for ref in whole], abs=1e-5)


def test_racing_errs_no_more_often_than_it_says():
    rng = np.random.default_rng(0)
    wrong, early = 0, 0
    for _ in range(2000):
        population = rng.normal(0.1, 1.0, 64)
        for n in look_sizes(64):
            if is_decided(population[:n], 64, 0.0, 0.05 / 3):
                break
        early += n < 64
        wrong += (population[:n].mean() > 0) != (population.mean() > 0)
    assert early > 100 and wrong / 2000 <= 0.05


def test_one_backward_pass_ranks_modules_like_small_random_changes_do(make_scanner, tmp_path):
    estimated = scan(make_scanner(method="gradient"), tmp_path).mean("refusal_margin")
    scanner, moved = make_scanner(), {}
    for ref in scanner._passes.topology.all:
        drops = [scanner.drop(type(scanner._passes.topology.all).of([ref]), strength=0.01, draw=i) for i in range(12)]
        moved[str(ref)] = float(np.sqrt(np.mean([d["refusal_margin"] ** 2 for d in drops])))
    assert spearmanr([estimated[r] for r in moved], [moved[r] for r in moved]).statistic > 0.9
    ratio = np.median([30 * moved[ref] / estimated[ref] for ref in moved])
    assert 0.6 < ratio < 1.6, "the estimate is in the drop's own unit, at thirty times the strength"
    assert not any(parameter.grad is not None for parameter in scanner._passes.model.parameters())


@pytest.mark.parametrize(("method", "name"), [("race", "probe_auroc"), ("gradient", "first_token_kl")])
def test_a_signal_that_a_method_cannot_measure_is_refused(method, name, make_scanner):
    with pytest.raises(ScanError, match=f"for scan.method {method}, found '{name}'"):
        make_scanner(method=method, signal=name)


def test_generated_answers_are_measured_on_the_perturbed_model_where_asked_for(make_scanner, tmp_path):
    clean = {name: p.clone() for name, p in make_scanner()._passes.model.named_parameters()}
    changed = []

    def refused(model):
        changed.append(sum(not torch.equal(p, clean[name]) for name, p in model.named_parameters()))
        return 0.8 if changed[-1] == 0 else 0.2

    found = scan(make_scanner(draws=1, refused=refused), tmp_path)
    assert list(found.mean("refused_answers").values()) == pytest.approx([0.75] * len(found.draws))
    assert changed[0] == 0 and set(changed[1:]) == {1}


def test_a_scan_killed_at_twenty_random_points_ends_with_the_same_result(make_scanner, tmp_path):
    (tmp_path / "whole").mkdir()
    scanner = make_scanner()
    torch.set_num_threads(1)  # a forked child must not wait for threads that only its parent has
    start = time.monotonic()
    whole = scan(scanner, tmp_path / "whole")
    seconds, rng, cut = time.monotonic() - start, random.Random(0), 0
    for _ in range(20):
        child = os.fork()
        if child == 0:
            scan(scanner, tmp_path)
            os._exit(0)
        time.sleep(rng.uniform(0, seconds / 8))
        os.kill(child, signal.SIGKILL)
        cut += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    lines = (tmp_path / "journal").read_bytes().count(b"\n")
    assert cut > 5, "most of the kills must hit a running scan"
    assert lines > 0
    assert scan(make_scanner(), tmp_path).to_dict() == whole.to_dict()


def test_layer_states_are_the_last_tokens_and_in_the_prompts_order(make_scanner):
    passes = make_scanner()._passes
    ids = passes.batches[0].input_ids[:5]
    shuffled = [batch(ids[[3, 0]], [3, 0]), batch(ids[[4, 1, 2]], [4, 1, 2])]
    states = extract_layer_states(passes.model, shuffled)
    expected = passes.model(ids, output_hidden_states=True).hidden_states[1:-1]
    assert states.shape == (3, 5, 32)
    for layer, hidden in enumerate(expected):
        assert torch.allclose(states[layer], hidden[:, -1], atol=1e-5)


@pytest.mark.parametrize(("loss", "strength"), [(2.5, 0.05), (0.2, 0.8), (0.01, 1.6)])
def test_calibration_finds_the_smallest_strength_that_reaches_the_target(make_scanner, monkeypatch, loss, strength):
    scanner = make_scanner()
    monkeypatch.setattr(scanner, "drop", lambda _, *, strength, draw: {"refusal_margin": loss * strength})
    found, tried = scanner.calibrate()
    assert found == strength and list(tried) == sorted(tried) and len(tried) <= 3
