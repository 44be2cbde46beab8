"""Modules: does a scan take more time for a module and a layer, and how much memory, the more modules there are?

    OMP_NUM_THREADS=1 python speed/modules.py

Llamas of width 8 that nobody has trained, seven modules to a layer. A scan runs every module's layer and the layers
behind it, so the time is given for each module and each layer that is run: what the scan itself does for a module must
not grow with their number. Every size has a process of its own.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_ROLES = 7
_PROMPTS = 4
"""Malicious and as many benign prompts."""


def main() -> None:
    """Print the table; or, with ``--one``, measure one size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[36, 72, 143, 286])
    parser.add_argument("--method", choices=("exact", "race", "gradient"), default="exact")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measured(options.one, options.method)))
        return
    columns = [
        "Modules",
        "Layers",
        "ms a module",
        "µs a module and layer run",
        "Memory of the scan, MiB",
        "Journal, KiB",
    ]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for layers in options.layers:
        command = [sys.executable, __file__, "--one", str(layers), "--method", options.method]
        now = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
        modules = _ROLES * layers
        runs = _ROLES * layers * (layers + 1) / 2
        times = f"{1e3 * now['seconds'] / modules:.1f} | {1e6 * now['seconds'] / runs:.0f}"
        memory = f"{now['memory'] / 1024:.1f} | {now['journal'] / 1024:.0f}"
        print(f"| {modules:,} | {layers} | {times} | {memory} |", flush=True)


def measured(layers: int, method: str) -> dict[str, float]:
    """CPU seconds of a scan, by how many KiB it raises the peak, and the bytes of its journal."""
    from securetune.base.artifacts import Journal

    scanner = scanner_of(layers, method)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        peak, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        scanner.scan(Journal(path))
        return {
            "seconds": time.process_time() - start,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak,
            "journal": path.stat().st_size,
        }


def scanner_of(layers: int, method: str):
    """A scanner on a few prompts."""
    import numpy as np
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from securetune.models.features import batch_prompts, extract_features
    from securetune.models.libraries import quiet_libraries
    from securetune.models.openings import find_openings
    from securetune.models.reading import read_topology
    from securetune.perturb import PERTURBATIONS
    from securetune.scan.config import ScanConfig
    from securetune.scan.passes import Passes
    from securetune.scan.probe import fit_probe
    from securetune.scan.scanner import Scanner
    from securetune.scan.signals.base.measurer import Signals
    from securetune.testbed.chat_model import train_tokenizer
    from securetune.testbed.world import sample_requests

    quiet_libraries()
    rng, texts = random.Random(0), []
    for intent in ("harmful", "benign"):
        requests = sample_requests(intent, 20 * _PROMPTS, rng, held_out_pairs=None, held_out_phrasings=None)
        texts += list(dict.fromkeys(request.text for request in requests))[:_PROMPTS]
    tokenizer = train_tokenizer([{"text": text} for text in texts], 600)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=8, intermediate_size=16, num_hidden_layers=layers,
            num_attention_heads=1, max_position_embeddings=256, pad_token_id=0, eos_token_id=1, bos_token_id=None,
        )
    ).eval()  # fmt: skip
    labels = np.repeat([1, 0], _PROMPTS)
    batches = batch_prompts(model, tokenizer, texts, batch_size=len(texts))
    clean = extract_features(model, batches)
    openings = find_openings(tokenizer, clean.logits[labels == 1], clean.logits[labels == 0])
    passes = Passes(model, read_topology(model), batches, PERTURBATIONS.get(ScanConfig().perturbation), seed=0)
    signals = Signals(probe=fit_probe(clean.hidden.numpy(), labels), openings=openings, labels=labels, clean=clean)
    return Scanner(
        passes,
        signals,
        ScanConfig(strength=0.4, method=method, draws=1, max_draws=1),
        malicious=lambda rows: batch_prompts(model, tokenizer, [texts[i] for i in rows], batch_size=_PROMPTS),
        tolerance=0.05,
    )


if __name__ == "__main__":
    main()
