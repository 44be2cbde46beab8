"""Large scan: how near to the ceiling of matrix products is a scan of a model in the shape of Llama-2-7B?

    python speed/large_scan.py

On a GPU: random weights in bfloat16, 64 prompts of 42 tokens, the exact method, one pair of draws for each module.
Without a GPU the model is tiny and only shows that the script runs. A scan runs the layer of a module and all behind
it; the ceiling is the time that these layers' matrix products alone would take at the rate of a product of two square
matrices of 8,192, measured beside it.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from securetune.base.artifacts import Journal
from securetune.models.features import PromptBatch, extract_features
from securetune.models.openings import Openings
from securetune.models.reading import read_topology
from securetune.models.topology import ModuleSet, Topology
from securetune.perturb import PERTURBATIONS
from securetune.scan.config import ScanConfig
from securetune.scan.passes import Passes
from securetune.scan.probe import fit_probe
from securetune.scan.scanner import Scanner
from securetune.scan.signals.base.measurer import Signals

_PROMPTS, _TOKENS = 64, 42
_SIZE = 8192


def main() -> None:
    """Print a table."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    is_large = device.type == "cuda"
    layers = 32 if is_large else 3
    model = llama(device, layers=layers, width=4096 if is_large else 64, vocabulary=32_000 if is_large else 64)
    topology, scanners = read_topology(model), scanners_of(model)
    work = 2 * 2 * _PROMPTS * _TOKENS * _run_parameters(model, topology)
    rate = _product_rate(device) if is_large else float("nan")
    seconds = {}
    for name, scanner in scanners.items():
        scanner.drop(ModuleSet.parse([f"{layers - 1}.down"]), strength=0.4, draw=0)  # fills the cache, wakes the device
        with tempfile.TemporaryDirectory() as folder:
            journal = Journal(Path(folder) / "journal")
            seconds[name] = timed(device, lambda scanner=scanner, journal=journal: scanner.scan(journal))
    print("| modules | device | scan, s | plain loop, s | products alone, s | share of the ceiling |")
    print("|---|---|---|---|---|---|")
    where = torch.cuda.get_device_name() if is_large else "CPU"
    print(
        f"| {len(topology.modules)} | {where} | {seconds['cached']:.1f} | {seconds['plain']:.1f} | {work / rate:.1f} | "
        f"{100 * work / rate / seconds['cached']:.0f} % |"
    )


def llama(device: torch.device, *, layers: int, width: int, vocabulary: int) -> LlamaForCausalLM:
    """A Llama with random weights in bfloat16."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with device:
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary, hidden_size=width, intermediate_size=width * 43 // 16,
                num_hidden_layers=layers, num_attention_heads=max(width // 128, 1),
            )
        )  # fmt: skip
    torch.set_default_dtype(torch.float32)
    return model.eval()


def scanners_of(model: LlamaForCausalLM) -> dict[str, Scanner]:
    """A scanner that skips the clean layers, and one that does not."""
    labels = np.repeat([1, 0], _PROMPTS // 2)
    half = model.config.vocab_size // 2
    ids = torch.randint(0, half, (_PROMPTS, _TOKENS), generator=torch.Generator().manual_seed(1))
    ids = (ids + half * torch.from_numpy(labels)[:, None]).to(model.device)

    def batch(rows: Sequence[int]) -> PromptBatch:
        chosen = ids[list(rows)]
        mask = torch.ones_like(chosen)
        index = list(range(len(chosen)))
        return PromptBatch(index=index, input_ids=chosen, attention_mask=mask, position_ids=mask.cumsum(-1) - 1)

    batches = [batch(range(_PROMPTS))]
    clean = extract_features(model, batches)
    logits = clean.logits.float()
    apart = (logits[labels == 1].mean(0) - logits[labels == 0].mean(0)).argsort().tolist()
    signals = Signals(
        probe=fit_probe(clean.hidden.float().cpu().numpy(), labels),
        openings=Openings(refusal=tuple(apart[-4:]), affirmative=tuple(apart[:4])),
        labels=labels,
        clean=clean,
    )
    config, lowrank = ScanConfig(strength=0.4, draws=1, max_draws=1), PERTURBATIONS.get("lowrank")
    return {
        name: Scanner(
            Passes(model, read_topology(model), batches, lowrank, seed=0, cached=cached),
            signals,
            config,
            malicious=lambda rows: [batch(rows)],
            tolerance=0.25,
        )
        for name, cached in (("cached", True), ("plain", False))
    }


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of some work, all that it has put on the device included."""
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _run_parameters(model: LlamaForCausalLM, topology: Topology) -> int:
    """Weights that a scan of every module multiplies with, one pass each: those of its layer and of all behind it."""
    of_a_layer = sum(
        model.get_parameter(info.weight).numel() for ref, info in topology.modules.items() if ref.layer == 0
    )
    return of_a_layer * sum(topology.layers - ref.layer for ref in topology.modules)


def _product_rate(device: torch.device) -> float:
    """Operations a second of a matrix product in bfloat16."""
    left, right = (torch.randn(_SIZE, _SIZE, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        left @ right
    return 10 * 2 * _SIZE**3 / timed(device, lambda: [left @ right for _ in range(10)])


if __name__ == "__main__":
    main()
