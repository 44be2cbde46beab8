"""Scan benchmark: how much faster is the scan that skips clean layers, and does it find the same?

    python benchmarks/scan.py --layers 32

Plain loop and cached scan take turns, layer by layer, in one process on one random model; only the ratio of their
times is claimed. The model is a Llama of small width with a prompt set of its own; no download.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from securetune.features import PromptBatch, extract_features
from securetune.models.reading import read_topology
from securetune.probe import fit_probe
from securetune.scan.openings import Openings
from securetune.scan.scanner import ScanConfig, Scanner
from securetune.scan.signals import Signals
from securetune.topology import ModuleSet

TOKENS = 32
VOCABULARY = 256


def scanners(layers: int, width: int, prompts: int) -> tuple[Scanner, Scanner, list[ModuleSet]]:
    """A plain and a cached scanner of the same model, and its modules in scan order."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
    )
    model = LlamaForCausalLM(config).eval()
    labels = np.array([1, 0] * (prompts // 2))
    # Malicious and benign prompts draw their tokens from two halves of the vocabulary: something to tell apart.
    ids = torch.randint(0, VOCABULARY // 2, (prompts, TOKENS)) + torch.from_numpy(labels)[:, None] * VOCABULARY // 2
    mask = torch.ones_like(ids)
    batches = [
        PromptBatch(index=list(range(prompts)), input_ids=ids, attention_mask=mask, position_ids=mask.cumsum(-1) - 1)
    ]
    clean = extract_features(model, batches)
    difference = clean.logits[labels == 1].mean(0) - clean.logits[labels == 0].mean(0)
    order = difference.argsort(descending=True).tolist()
    signals = Signals(
        probe=fit_probe(clean.hidden.numpy(), labels),
        openings=Openings(refusal=tuple(order[:5]), affirmative=tuple(order[-5:])),
        labels=labels,
        clean=clean,
    )
    topology = read_topology(model)
    plain, cached = (Scanner(model, topology, batches, signals, ScanConfig(), cached=c) for c in (False, True))
    return plain, cached, [ModuleSet.of([ref]) for ref in topology.all]


def timed(measure: Callable[..., dict[str, float]], modules: ModuleSet) -> tuple[float, dict[str, float]]:
    """Seconds and result of one measurement."""
    start = time.perf_counter()
    found = measure(modules, strength=0.4, draw=0)
    return time.perf_counter() - start, found


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    plain, cached, modules = scanners(options.layers, options.width, options.prompts)
    ratios, difference = [], 0.0
    for _ in range(options.repeats):
        seconds = {"plain": 0.0, "cached": 0.0}
        for members in modules:
            spent, expected = timed(plain.drop, members)
            seconds["plain"] += spent
            spent, found = timed(cached.drop, members)
            seconds["cached"] += spent
            difference = max(difference, *(abs(expected[signal] - found[signal]) for signal in expected))
        ratios.append(seconds["plain"] / seconds["cached"])
    kept = options.prompts * TOKENS * options.width * 4 / 2**20
    print("| layers | modules | prompts | plain / cached, median (min to max) | max abs difference | kept, MiB |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {options.layers} | {len(modules)} | {options.prompts} | {np.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}, n={len(ratios)}) | {difference:.1g} | {kept:.1f} |"
    )


if __name__ == "__main__":
    main()
