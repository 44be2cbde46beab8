"""Scan benchmark: how much faster than the plain loop are the ways to scan, and do they find the same?

    python benchmarks/scan.py --layers 32 --seeds 20

The model is a random Llama of small width with a prompt set of its own; no download. On the first `--timed` seeds the
plain loop (every prompt through every layer, for every module and draw) and the cached exact scan take turns, module by
module, and the race and the gradient follow; only ratios of times are claimed. On all seeds, each with a model, prompts
and draws of its own, the race's robust set is compared with the exact one. Its tolerance is the exact drops' upper
quartile: a hard case, because many modules lie close to it. A random model has no safety to lose, its drops are as
often below 0 as above; so the gradient is compared with their size here, and with the drops of an aligned model in
`benchmarks/reliability.py`.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from transformers import LlamaConfig, LlamaForCausalLM

from securetune.artifacts import Journal
from securetune.features import PromptBatch, extract_features
from securetune.models.reading import read_topology
from securetune.perturb import PERTURBATIONS
from securetune.probe import fit_probe
from securetune.scan.openings import Openings
from securetune.scan.passes import Passes
from securetune.scan.scanner import ScanConfig, Scanner, ScanResult
from securetune.scan.signals import Signals
from securetune.topology import ModuleSet

TOKENS = 16
VOCABULARY = 256
SIGNAL = "refusal_margin"
STRENGTH = 0.4


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One random model with its prompts; makes scanners of it."""

    passes: dict[bool, Passes]
    """Cached or not -> passes."""
    signals: Signals
    ids: torch.Tensor

    def scanner(self, *, cached: bool = True, tolerance: float = 0.25, **config: Any) -> Scanner:
        """A scanner of one method."""
        settings = ScanConfig(strength=STRENGTH, **config)
        return Scanner(self.passes[cached], self.signals, settings, malicious=self.malicious, tolerance=tolerance)

    def malicious(self, rows: Sequence[int]) -> list[PromptBatch]:
        """Some of the malicious prompts."""
        return [batch(self.ids[np.flatnonzero(self.signals.labels)[list(rows)]])]


def batch(ids: torch.Tensor) -> PromptBatch:
    """Prompts of one length as a batch."""
    mask = torch.ones_like(ids)
    return PromptBatch(
        index=list(range(len(ids))), input_ids=ids, attention_mask=mask, position_ids=mask.cumsum(-1) - 1
    )


def setup(layers: int, width: int, prompts: int, seed: int) -> Setup:
    """A model, and malicious and benign prompts whose tokens come from two halves of the vocabulary."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
    )
    model = LlamaForCausalLM(config).eval()
    labels = np.array([1, 0] * (prompts // 2))
    ids = torch.randint(0, VOCABULARY // 2, (prompts, TOKENS)) + torch.from_numpy(labels)[:, None] * VOCABULARY // 2
    clean = extract_features(model, [batch(ids)])
    difference = clean.logits[labels == 1].mean(0) - clean.logits[labels == 0].mean(0)
    order = difference.argsort(descending=True).tolist()
    signals = Signals(
        probe=fit_probe(clean.hidden.numpy(), labels),
        openings=Openings(refusal=tuple(order[:5]), affirmative=tuple(order[-5:])),
        labels=labels,
        clean=clean,
    )
    topology, perturbation = read_topology(model), PERTURBATIONS.get("lowrank")
    passes = {c: Passes(model, topology, [batch(ids)], perturbation, seed=seed, cached=c) for c in (False, True)}
    return Setup(passes=passes, signals=signals, ids=ids)


def timed(measure: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[float, Any]:
    """Seconds and result of a call."""
    start = time.perf_counter()
    found = measure(*arguments, **options)
    return time.perf_counter() - start, found


def paired(made: Setup, draws: int) -> tuple[float, float, float, dict[str, list[float]]]:
    """Seconds of the plain and of the cached scan, their largest difference, and the drops."""
    plain, cached = made.scanner(cached=False), made.scanner()
    seconds, difference, found = [0.0, 0.0], 0.0, {}
    for ref in made.passes[True].topology.all:
        for draw in range(draws):
            spent, expected = timed(plain.drop, ModuleSet.of([ref]), strength=STRENGTH, draw=draw)
            seconds[0] += spent
            spent, drops = timed(cached.drop, ModuleSet.of([ref]), strength=STRENGTH, draw=draw)
            seconds[1] += spent
            difference = max(difference, *(abs(expected[signal] - drops[signal]) for signal in expected))
            found.setdefault(str(ref), []).append(drops[SIGNAL])
    return seconds[0], seconds[1], difference, found


def scanned(scanner: Scanner) -> ScanResult:
    """A whole scan, without anything kept from before."""
    with tempfile.TemporaryDirectory() as folder:
        return scanner.scan(Journal(Path(folder) / "journal"))


def robust(means: dict[str, float], tolerance: float) -> set[str]:
    """The modules whose drop alone is within tolerance."""
    return {ref for ref, drop in means.items() if drop <= tolerance}


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--timed", type=int, default=3)
    options = parser.parse_args()
    ratios: dict[str, list[float]] = {"cached, all signals": [], "race": [], "gradient": []}
    difference, spearman, read, same = 0.0, [], [], 0
    for seed in range(options.seeds):
        made = setup(options.layers, options.width, options.prompts, seed)
        if seed < options.timed:
            plain, cached, found, drops = paired(made, options.draws)
            difference = max(difference, found)
            ratios["cached, all signals"].append(plain / cached)
            estimated, approximate = timed(scanned, made.scanner(method="gradient"))
            ratios["gradient"].append(plain / estimated)
            sizes = [np.sqrt(np.mean(np.square(values))) for values in drops.values()]
            values = approximate.mean(SIGNAL)
            spearman.append(spearmanr(sizes, [values[ref] for ref in drops]).statistic)
            means = {ref: float(np.mean(values)) for ref, values in drops.items()}
        else:
            means = scanned(made.scanner(draws=options.draws)).mean(SIGNAL)
        tolerance = float(np.percentile(list(means.values()), 75))
        raced, result = timed(scanned, made.scanner(method="race", draws=options.draws, tolerance=tolerance))
        if seed < options.timed:
            ratios["race"].append(plain / raced)
        same += robust(result.mean(SIGNAL), tolerance) == robust(means, tolerance)
        read.append(np.mean(list(result.mean("prompts").values())))
    findings = {
        "cached, all signals": f"max abs difference {difference:.1g}",
        "race": f"same robust set in {same} of {options.seeds} seeds; {np.mean(read):.0f} of {options.prompts // 2} "
        "malicious prompts read",
        "gradient": f"Spearman with the size of the drops {np.mean(spearman):.2f} ({min(spearman):.2f} to "
        f"{max(spearman):.2f})",
    }
    print(f"{options.layers} layers of width {options.width}, {len(means)} modules x {options.draws} draws, "
          f"{options.prompts} prompts of {TOKENS} tokens; n = {options.timed} models timed\n")  # fmt: skip
    print("| way | plain loop / this, median (min to max) | what it finds |\n|---|---|---|")
    for way, measured in ratios.items():
        print(f"| {way} | {np.median(measured):.2f} ({min(measured):.2f} to {max(measured):.2f}) | {findings[way]} |")
    kept = options.prompts * TOKENS * options.width * 4 / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"\nPeak memory of the process {peak:.0f} MiB, of which {kept:.1f} MiB the kept layer outputs.")


if __name__ == "__main__":
    main()
