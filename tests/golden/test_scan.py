"""Ways to scan: what the race, the gradient and a killed scan find is what the exact scan finds."""

import os
import random
import signal
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from securetune.base.artifacts import Journal
from securetune.errors import ScanError
from securetune.models.features import Features, PromptBatch, extract_layer_states
from securetune.models.openings import Openings
from securetune.models.reading import read_topology
from securetune.models.topology import ModuleInfo, ModuleRef, ModuleSet, Topology
from securetune.perturb import PERTURBATIONS
from securetune.perturb.base.apply import perturbed
from securetune.scan.calibration import HALVINGS, random_halves
from securetune.scan.config import ScanConfig
from securetune.scan.passes import Passes
from securetune.scan.probe import fit_probe
from securetune.scan.race import is_decided, look_sizes
from securetune.scan.reliability import reliability
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

    def make(*, tolerance=0.02, refused=None, batches=1, cached=True, shared=True, head=(), **config):
        settings = ScanConfig(**{"strength": 0.3, "max_draws": 1} | config)
        prompts = torch.cat([torch.tensor([head]).expand(PROMPTS, -1), ids], dim=1) if head else ids
        perturbation = PERTURBATIONS.get(settings.perturbation)
        parts = [batch(prompts[rows], rows.tolist()) for rows in torch.arange(PROMPTS).chunk(batches)]
        passes = Passes(
            model, read_topology(model), parts, perturbation, seed=settings.seed or 0, cached=cached, shared=shared
        )
        clean = passes.clean
        apart = (clean.logits[LABELS == 1].mean(0) - clean.logits[LABELS == 0].mean(0)).argsort().tolist()
        signals = Signals(
            probe=fit_probe(clean.hidden.numpy(), LABELS),
            openings=Openings(refusal=tuple(apart[-4:]), affirmative=tuple(apart[:4])),
            labels=LABELS,
            clean=clean,
            follows="refusal_margin",
        )
        malicious = lambda rows: [batch(prompts[list(rows)])]  # noqa: E731
        return Scanner(passes, signals, settings, malicious=malicious, tolerance=tolerance, refused=refused)

    return make


def scan(scanner, folder):
    return scanner.scan(Journal(folder / "journal"))


def test_a_race_ends_on_the_exact_scans_side_and_reads_less(make_scanner, tmp_path):
    exact = scan(make_scanner(), tmp_path).mean("refusal_margin")
    tolerance = float(np.mean(sorted(exact.values())[9:11]))
    (tmp_path / "race").mkdir()
    shares = len(exact) // 2  # the race decides about one
    found = scan(make_scanner(method="race", tolerance=shares * tolerance), tmp_path / "race")
    raced, read = found.mean("refusal_margin"), found.mean("prompts")
    assert {ref for ref in exact if exact[ref] <= tolerance} == {ref for ref in raced if raced[ref] <= tolerance}
    assert min(read.values()) < PROMPTS / 2 and max(read.values()) == PROMPTS / 2
    whole = [ref for ref, n in read.items() if n == PROMPTS / 2]
    assert [raced[ref] for ref in whole] == pytest.approx([exact[ref] for ref in whole], abs=1e-5)


@pytest.mark.parametrize(
    ("minutes", "method", "told"), [(60, "exact", "within scan.auto_minutes (60)"), (1e-6, "race", "so a race is run")]
)
def test_an_open_method_is_chosen_by_the_time_of_the_exact_scan_and_kept(
    minutes, method, told, make_scanner, tmp_path, tmp_path_factory, monkeypatch
):
    second = tmp_path_factory.mktemp("second")
    found = scan(make_scanner(method="auto", auto_minutes=minutes, tolerance=0.5), tmp_path)
    assert found.method == method and told in found.why
    expected = replace(scan(make_scanner(method=method, tolerance=0.5), second), why=found.why)
    assert found.to_dict() == expected.to_dict()
    monkeypatch.setattr("securetune.scan.scanner.chosen", lambda *_, **__: pytest.fail("chosen again"))
    assert scan(make_scanner(method="auto", auto_minutes=minutes, tolerance=0.5), tmp_path) == found


def test_an_open_method_stays_exact_where_the_signal_cannot_race(make_scanner, tmp_path):
    found = scan(make_scanner(method="auto", auto_minutes=1e-6, signal="probe_auroc"), tmp_path)
    assert found.method == "exact" and "the signal probe_auroc cannot race" in found.why


@pytest.mark.parametrize("method", ["exact", "race"])
def test_a_scan_that_runs_shared_tokens_once_finds_the_same_in_fewer_tokens(method, make_scanner, tmp_path):
    found, tokens = {}, {}
    for shared in (True, False):
        scanner = make_scanner(method=method, head=list(range(10)), shared=shared, batches=2, tolerance=0.5)
        embedding, ran = scanner._passes.model.get_input_embeddings(), []
        hook = embedding.register_forward_hook(lambda _part, inputs, _out, ran=ran: ran.append(inputs[0].numel()))
        (tmp_path / str(shared)).mkdir()
        found[shared], tokens[shared] = scan(scanner, tmp_path / str(shared)), sum(ran)
        hook.remove()
    signals = set(found[True].ranges) if method == "exact" else {"refusal_margin", "prompts"}
    for name in signals:
        values, expected = found[True].mean(name), found[False].mean(name)
        assert list(values.values()) == pytest.approx(list(expected.values()), abs=1e-4), name
    assert tokens[True] < 0.65 * tokens[False], "8 of 18 tokens, and once 10 for every pass"


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
        drops = [scanner._one_way(ModuleSet.of([ref]), 0.01, draw, 1) for draw in range(12)]
        moved[str(ref)] = float(np.sqrt(np.mean([d["refusal_margin"] ** 2 for d in drops])))
    assert spearmanr([estimated[r] for r in moved], [moved[r] for r in moved]).statistic > 0.9
    ratio = np.median([30 * moved[ref] / estimated[ref] for ref in moved])
    assert 0.6 < ratio < 1.6, "the estimate is in the drop's own unit, at thirty times the strength"
    assert not any(parameter.grad is not None for parameter in scanner._passes.model.parameters())


@pytest.mark.parametrize("method", ["exact", "race"])
def test_parts_of_the_prompts_are_disjoint_and_all_of_what_was_read(make_scanner, tmp_path, method, monkeypatch):
    monkeypatch.setattr("securetune.scan.race.FIRST_BLOCK", 16)
    found, scanner = scan(make_scanner(method=method, draws=2), tmp_path), make_scanner()
    for draw in (draw for repeats in found.draws.values() for draw in repeats):
        parts = [value for name, value in draw.items() if name.startswith("part:")]
        assert len(parts) == 8 and len(set(parts)) > 1
        assert np.mean(parts) == pytest.approx(draw["refusal_margin"], abs=1e-5)
    assert not any("part:" in name for name in (*found.clean, *found.ranges))
    read = [set(rows.tolist()) for rows, *_ in scanner._signals._parts]
    assert sorted(row for part in read for row in part) == list(range(PROMPTS))
    assert {LABELS[sorted(part)].mean() for part in read} == {0.5}
    joint = scanner.joint_drops(scanner._passes.topology.all, strength=0.3)
    assert not any("part:" in name for name in joint), "a search needs no parts"


def test_parts_equal_a_scan_of_their_prompts_alone(make_scanner, tmp_path):
    scanner = make_scanner(signal="refusal_margin", draws=1)
    rows = scanner._signals._parts[3][0].sort().values
    signals, whole = scanner._signals, scanner._passes
    alone = [batch(whole.batches[0].input_ids[rows])]
    passes = Passes(whole.model, whole.topology, alone, whole.perturbation, seed=0)
    few = replace(signals, labels=LABELS[rows.numpy()], clean=passes.clean, follows=None)
    expected = scan(Scanner(passes, few, scanner._config, tolerance=0.02), tmp_path)
    (tmp_path / "whole").mkdir()
    found = scan(scanner, tmp_path / "whole")
    in_nats = {ref: drop * expected.ranges["refusal_margin"] for ref, drop in expected.mean("refusal_margin").items()}
    parts = {ref: drop * found.ranges["refusal_margin"] for ref, drop in found.mean("part:3").items()}
    assert parts == pytest.approx(in_nats, abs=1e-4)


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


@pytest.mark.parametrize(
    ("loss", "strength"), [(20, 0.05), (2.5, 0.1), (1, 0.259), (0.625, 0.4), (0.2, 1.345), (0.01, 1.6)]
)
def test_calibration_finds_the_smallest_strength_at_which_halves_lose_the_tolerance(
    make_scanner, monkeypatch, loss, strength
):
    scanner, sizes = make_scanner(tolerance=0.25), set()

    def drop(modules, *, strength, draw):
        sizes.add(len(modules))
        return {"refusal_margin": loss * strength}

    monkeypatch.setattr(scanner, "drop", drop)
    found, tried = scanner.calibrate()
    assert found == pytest.approx(strength, rel=0.005) and list(tried) == sorted(tried) and len(tried) <= 6
    everything = len(scanner._passes.topology.all)
    assert sizes == {everything // 2, everything - everything // 2}


def test_halves_hold_every_module_as_often():
    modules = ModuleSet.parse([f"{layer}.{role}" for layer in range(3) for role in "qkv"])
    counts = Counter(ref for half in random_halves(modules, 0) for ref in half)
    assert set(counts) == set(modules) and set(counts.values()) == {HALVINGS}
    assert random_halves(modules, 0) == random_halves(modules, 0) != random_halves(modules, 1)


@pytest.mark.parametrize("method", ["exact", "race"])
def test_draws_are_added_until_the_ranking_is_reliable_or_the_budget_spent(make_scanner, tmp_path, method):
    for budget, wanted, most in ((2, 0.8, 2), (5, 1.0, 5), (5, 0.0, 2)):
        folder = tmp_path / f"{budget}-{wanted}"
        folder.mkdir()
        scanner = make_scanner(method=method, draws=1, reliability=wanted, max_draws=budget)
        result = scan(scanner, folder)
        assert {len(draws) for draws in result.draws.values()} == {most}
        monkeypatched = make_scanner(method=method, draws=1, reliability=wanted, max_draws=budget)
        monkeypatched.drop = pytest.fail
        assert scan(monkeypatched, folder).to_dict() == result.to_dict(), "the journal holds the further draws, too"
    assert reliability(result.draws, "refusal_margin").chosen is not None
    if method == "race":
        assert all(len({draw["prompts"] for draw in draws}) == 1 for draws in result.draws.values())


class Straight(torch.nn.Module):
    """Features and logits are linear in the weight."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))


class StraightPasses:
    """What `Passes` offers, of a linear model with one module."""

    def __init__(self, name, prompts):
        self.model, self.perturbation, self._prompts = Straight(), PERTURBATIONS.get(name), prompts
        self.topology = Topology(
            model_type="straight",
            layers=1,
            hidden_size=5,
            modules={ModuleRef(0, "q"): ModuleInfo(path="", weight="weight", shape=(6, 5))},
        )

    @contextmanager
    def perturbed(self, modules, *, strength, draw, sign):
        change = {"strength": strength, "seed": draw, "sign": sign}
        with perturbed(self.model, self.topology, modules, self.perturbation, **change):
            yield self.features()

    def features(self):
        states = self._prompts @ self.model.weight.detach().T
        return Features(hidden=states, logits=states)


@pytest.mark.parametrize("name", ["lowrank", "gaussian", "scale"])
def test_of_a_linear_model_the_first_order_cancels_and_nothing_is_left(name):
    labels = np.array([1] * 8 + [0] * 8)
    prompts = torch.randn(16, 5, generator=torch.Generator().manual_seed(1)) + 3 * torch.from_numpy(labels)[:, None]
    passes = StraightPasses(name, prompts)
    clean = passes.features()
    apart = (clean.logits[labels == 1].mean(0) - clean.logits[labels == 0].mean(0)).argsort().tolist()
    signals = Signals(
        probe=fit_probe(clean.hidden.numpy(), labels),
        openings=Openings(refusal=(apart[-1],), affirmative=(apart[0],)),
        labels=labels,
        clean=clean,
    )
    scanner = Scanner(passes, signals, ScanConfig(perturbation=name), tolerance=0.25)
    module = ModuleSet.parse(["0.q"])
    for draw in range(5):
        pair = scanner.drop(module, strength=0.5, draw=draw)
        ways = [scanner._one_way(module, 0.5, draw, sign) for sign in (1, -1)]
        for signal_name in ("probe_margin", "refusal_margin"):
            assert max(abs(way[signal_name]) for way in ways) > 1e-4
            assert pair[signal_name] == pytest.approx(0, abs=1e-5), "one token against one: linear, too"
    even = Scanner(passes, signals, ScanConfig(perturbation=name, signal="first_token_kl"), tolerance=0.25)
    assert even.drop(module, strength=0.5, draw=0) == even._one_way(module, 0.5, 0, 1), "its draws are single ones"


@pytest.mark.parametrize(("name", "passes"), [("lowrank", 2), ("gaussian", 2), ("scale", 2), ("zero", 1)])
def test_a_pair_is_both_ways_of_one_draw_and_costs_two_passes(name, passes, make_scanner):
    scanner = make_scanner(perturbation=name)
    kept = {n: p.clone() for n, p in scanner._passes.model.named_parameters()}
    taken, measured = [], scanner._one_way
    scanner._one_way = lambda *change: taken.append(change) or measured(*change)
    drop = scanner.drop(ModuleSet.parse(["1.down"]), strength=0.3, draw=4)
    assert len(taken) == passes and [sign for *_, sign in taken] == [1, -1][:passes]
    ways = [measured(*change) for change in taken]
    assert drop == {signal_name: np.mean([way[signal_name] for way in ways]) for signal_name in drop}
    assert all(torch.equal(p, kept[n]) for n, p in scanner._passes.model.named_parameters())


def test_cached_and_batched_pairs_and_a_race_that_reads_every_prompt_equal_the_plain_loop(
    make_scanner, tmp_path, monkeypatch
):
    monkeypatch.setattr("securetune.scan.race.FIRST_BLOCK", PROMPTS)
    plain, fast = make_scanner(cached=False, draws=2), make_scanner(batches=3, draws=2)
    raced = scan(make_scanner(method="race", draws=2), tmp_path)
    assert raced.is_paired and set(raced.mean("prompts").values()) == {PROMPTS / 2}
    for ref in plain._passes.topology.all:
        drops = [plain.drop(ModuleSet.of([ref]), strength=0.3, draw=draw) for draw in range(2)]
        for draw, expected in enumerate(drops):
            assert fast.drop(ModuleSet.of([ref]), strength=0.3, draw=draw) == pytest.approx(expected, abs=1e-5)
            assert raced.draws[str(ref)][draw]["refusal_margin"] == pytest.approx(expected["refusal_margin"], abs=1e-5)
    (tmp_path / "gradient").mkdir()
    assert scan(make_scanner(method="gradient"), tmp_path / "gradient").is_paired is False
