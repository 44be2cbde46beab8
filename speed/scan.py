"""Scan benchmark: how much faster than the plain loop are the ways to scan, and do they find the same?

    python speed/scan.py --layers 32 --seeds 20
    python speed/scan.py --layers 8 --width 128 --system "You talk to people who like clear advice."

The model is an aligned Llama of small width in the testbed's world, trained on the first call (minutes) and kept in the
cache folder. On the first `--timed` seeds the plain loop (every prompt through every layer, for every module and draw)
and the cached exact scan take turns, module by module, and the race and the gradient follow; only ratios of times are
claimed. Under a system prompt the exact scan that runs shared tokens once takes its turn too, and races follow with and
without it. On all seeds, each with prompts, draws, a probe and a calibrated strength of its own, the race's robust set
is compared with the exact one, at a module's share of the search's own tolerance and at another share: the exact drops'
upper quartile.
"""

import argparse
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.artifacts import Journal
from securetune.config import SearchConfig
from securetune.models.features import PromptBatch, batch_prompts, extract_features
from securetune.models.openings import find_openings
from securetune.models.reading import read_topology
from securetune.models.topology import ModuleSet
from securetune.perturb import PERTURBATIONS
from securetune.scan.config import ScanConfig
from securetune.scan.draws import PROMPTS
from securetune.scan.passes import Passes
from securetune.scan.probe import fit_probe
from securetune.scan.result import ScanResult
from securetune.scan.scanner import Scanner
from securetune.scan.signals.base.measurer import Signals
from securetune.testbed.build import ALIGNMENT_ROWS, HELPFUL_ROWS, alignment_rows, cache_root, helpful_rows
from securetune.testbed.chat_model import ChatModelConfig, train_chat_model
from securetune.testbed.world import sample_requests

SIGNAL = ScanConfig().signal
TOLERANCE = SearchConfig().tolerance
Drops = dict[str, list[float]]
WAYS = {
    "plain": {"cached": False, "shared": False},
    "cached": {"cached": True, "shared": False},
    "shared": {"cached": True, "shared": True},
}
"""Way to run the prompts of the exact scan and the race -> options of `Passes`."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The model with the prompts of one seed; makes scanners of it."""

    passes: dict[str, Passes]
    """Way of `WAYS` -> passes."""
    signals: Signals
    malicious: Callable[[Sequence[int]], list[PromptBatch]]
    draws: int

    def scanner(
        self, strength: float | None, *, way: str = "cached", tolerance: float = TOLERANCE, method: str = "exact"
    ) -> Scanner:
        """A scanner of one method."""
        settings = ScanConfig(strength=strength, method=method, draws=self.draws, max_draws=self.draws)
        return Scanner(self.passes[way], self.signals, settings, malicious=self.malicious, tolerance=tolerance)


def aligned_model(layers: int, width: int) -> Path:
    """Folder of an aligned model of the testbed's world, trained on the first call."""
    folder = cache_root() / f"scan-benchmark-{layers}x{width}"
    if not folder.exists():
        rng = random.Random(0)
        config = ChatModelConfig(layers=layers, hidden_size=width, intermediate_size=width * 11 // 4)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            new = Path(temporary) / "new"
            rows = helpful_rows(HELPFUL_ROWS, rng), alignment_rows(ALIGNMENT_ROWS, rng)
            train_chat_model(*rows, config, new, name=f"{layers} layers of width {width}")
            os.replace(new, folder)
    return folder


def set_up(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, options: argparse.Namespace, seed: int) -> Setup:
    """Prompts of one seed: the probe and the openings are found on one half, the scan reads the other."""
    rng = random.Random(seed)
    texts: list[list[str]] = [[], []]
    for intent in ("harmful", "benign"):
        requests = sample_requests(intent, 20 * options.prompts, rng, held_out_pairs=False, held_out_phrasings=False)
        distinct = list(dict.fromkeys(request.text for request in requests))
        for half, start in zip(texts, (0, options.prompts), strict=True):
            half += distinct[start : start + options.prompts]
    labels = np.repeat([1, 0], options.prompts)

    def batches(prompts: Sequence[str]) -> list[PromptBatch]:
        size, system = ScanConfig().batch_size, options.system or None
        return batch_prompts(model, tokenizer, prompts, batch_size=size, system=system)

    fit_batches, scan_batches = (batches(half) for half in texts)
    features = extract_features(model, fit_batches)
    signals = Signals(
        probe=fit_probe(features.hidden.numpy(), labels),
        openings=find_openings(tokenizer, features.logits[labels == 1], features.logits[labels == 0]),
        labels=labels,
        clean=extract_features(model, scan_batches),
    )
    topology, perturbation = read_topology(model), PERTURBATIONS.get(ScanConfig().perturbation)
    return Setup(
        passes={
            way: Passes(model, topology, scan_batches, perturbation, seed=seed, **skips) for way, skips in WAYS.items()
        },
        signals=signals,
        malicious=lambda rows: batches([texts[1][i] for i in rows]),
        draws=options.draws,
    )


def timed(measure: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[float, Any]:
    """Seconds and result of a call."""
    start = time.perf_counter()
    result = measure(*arguments, **options)
    return time.perf_counter() - start, result


def paired(setup: Setup, strength: float, ways: Sequence[str]) -> tuple[dict[str, float], dict[str, float], Drops]:
    """Seconds of the exact scan by way, its largest difference from the plain loop, and the plain loop's drops."""
    scanners = {way: setup.scanner(strength, way=way) for way in ("plain", *ways)}
    seconds, difference, drops_of = dict.fromkeys(scanners, 0.0), dict.fromkeys(scanners, 0.0), {}
    for ref in setup.passes["plain"].topology.all:
        for draw in range(setup.draws):
            drops = {}
            for way, scanner in scanners.items():
                spent, drops[way] = timed(scanner.drop, ModuleSet.of([ref]), strength=strength, draw=draw)
                seconds[way] += spent
                gaps = [abs(value - drops["plain"][signal]) for signal, value in drops[way].items()]
                difference[way] = max(difference[way], *gaps)
            drops_of.setdefault(str(ref), []).append(drops["plain"][SIGNAL])
    return seconds, difference, drops_of


def scanned(scanner: Scanner) -> ScanResult:
    """A whole scan, without anything kept from before."""
    with tempfile.TemporaryDirectory() as folder:
        return scanner.scan(Journal(Path(folder) / "journal"))


def robust(means: dict[str, float], share: float) -> set[str]:
    """The modules whose drop alone is within their share of the tolerance."""
    return {ref for ref, drop in means.items() if drop <= share}


def halved(modules: dict[str, float]) -> int:
    """How many shares a tolerance has: it is that of half of the modules together."""
    return max(len(modules) // 2, 1)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--prompts", type=int, default=ScanConfig().prompts, help="malicious and benign ones each")
    parser.add_argument("--draws", type=int, default=ScanConfig().draws)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--timed", type=int, default=3)
    parser.add_argument("--system", default="", help="system prompt, whose tokens all prompts share")
    return parser.parse_args()


@dataclass(frozen=True)
class Exact:
    """What the exact scans of one way took and found, seed by seed."""

    ratios: list[float] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)

    def finding(self) -> str:
        """The difference from the plain loop, in words."""
        return f"max abs difference {max(self.differences):.1g}"


@dataclass(frozen=True)
class Race:
    """What the races with one tolerance found, seed by seed."""

    ratios: list[float] = field(default_factory=list)
    same: list[bool] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    prompts: list[float] = field(default_factory=list)

    def add(
        self, setup: Setup, way: str, strength: float, exact: dict[str, float], share: float, plain: float | None
    ) -> None:
        """One race, which decides about `share`; `plain` is the plain loop's seconds, where it was timed."""
        tolerance = share * halved(exact)
        seconds, result = timed(scanned, setup.scanner(strength, way=way, method="race", tolerance=tolerance))
        if plain is not None:
            self.ratios.append(plain / seconds)
        expected = robust(exact, share)
        self.same.append(robust(result.mean(SIGNAL), share) == expected)
        self.sizes.append(len(expected))
        self.prompts.append(float(np.mean(list(result.mean(PROMPTS).values()))))

    def finding(self) -> str:
        """The robust sets and the prompts read, in words."""
        return (
            f"same robust set in {sum(self.same)} of {len(self.same)} seeds ({min(self.sizes)} to {max(self.sizes)} "
            f"modules); {np.mean(self.prompts):.0f} malicious prompts read on average"
        )


@dataclass(frozen=True)
class Gradient:
    """What the backward pass took and found, seed by seed."""

    ratios: list[float] = field(default_factory=list)
    spearman: list[float] = field(default_factory=list)

    def add(self, setup: Setup, strength: float, exact: dict[str, float], plain: float) -> None:
        """One estimate; `plain` is the plain loop's seconds."""
        seconds, estimate = timed(scanned, setup.scanner(strength, method="gradient"))
        self.ratios.append(plain / seconds)
        values = estimate.mean(SIGNAL)
        self.spearman.append(spearmanr(list(exact.values()), [values[ref] for ref in exact]).statistic)

    def finding(self) -> str:
        """How it ranks, in words."""
        return f"Spearman with the drops {np.mean(self.spearman):.2f} ({spread(self.spearman)})"


def main() -> None:
    """Print a Markdown table."""
    options = parse()
    folder = aligned_model(options.layers, options.width)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ways = ["cached", "shared"] if options.system else ["cached"]
    exact, gradient, strengths = {way: Exact() for way in ways}, Gradient(), []
    races = {(way, is_hard): Race() for way in ways for is_hard in (False, True)}
    for seed in range(options.seeds):
        setup = set_up(model, tokenizer, options, seed)
        strength, _ = setup.scanner(None).calibrate()
        strengths.append(strength)
        plain = None
        if seed < options.timed:
            seconds, difference, drops = paired(setup, strength, ways)
            plain = seconds["plain"]
            for way in ways:
                exact[way].ratios.append(plain / seconds[way])
                exact[way].differences.append(difference[way])
            means = {ref: float(np.mean(values)) for ref, values in drops.items()}
            gradient.add(setup, strength, means, plain)
        else:
            means = scanned(setup.scanner(strength)).mean(SIGNAL)
        for (way, is_hard), race in races.items():
            share = float(np.percentile(list(means.values()), 75)) if is_hard else TOLERANCE / halved(means)
            race.add(setup, way, strength, means, share, plain)
    print(
        f"{options.layers} layers of width {options.width}, {len(means)} modules x {options.draws} draws, "
        f"{options.prompts} malicious and as many benign prompts, {lengths(setup)}, "
        f"strengths {sorted(set(strengths))}; n = {options.timed} seeds timed\n"
    )
    print("| way | plain loop / this, median (min to max) | what it finds |\n|---|---|---|")
    names = {f"{way}, all signals": found for way, found in exact.items()}
    for (way, is_hard), race in races.items():
        names[f"race, {way}, {'share at the upper quartile' if is_hard else f'tolerance {TOLERANCE}'}"] = race
    for name, found in (names | {"gradient": gradient}).items():
        print(f"| {name} | {np.median(found.ratios):.2f} ({spread(found.ratios)}) | {found.finding()} |")
    print(f"\nPeak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB.")


def lengths(setup: Setup) -> str:
    """The prompts' mean length, and how many first tokens are run once."""
    passes = setup.passes["shared"]
    mean = sum(int(batch.attention_mask.sum()) for batch in passes.batches) / passes.size
    return f"{mean:.1f} tokens each of which {passes.shared_tokens} are run once"


def spread(values: Sequence[float]) -> str:
    """Smallest to largest."""
    return f"{min(values):.2f} to {max(values):.2f}"


if __name__ == "__main__":
    main()
