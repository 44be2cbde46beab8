"""Gradient: how sensitive is every module, from one backward pass?

A random change of norm s |W| in a weight W with p entries moves a score S by a first-order amount whose standard
deviation is s |W| |dS/dW| / sqrt(p). That stands in for the drop: it ranks modules, it does not tell how much is lost.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from securetune.models.features import PromptBatch, first_token
from securetune.scan.passes import Passes
from securetune.scan.signals.base.interface import Baseline, LogitSignal


@contextmanager
def trainable(weights: Iterable[Tensor]) -> Iterator[None]:
    """Gradients of these weights for a while."""
    frozen = [weight for weight in weights if not weight.requires_grad]
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


def gradient_drops(
    passes: Passes, malicious: Sequence[PromptBatch], baseline: Baseline, signal: LogitSignal, strength: float
) -> dict[str, float]:
    """Standard deviation of the first-order change of the signal, per module, in its unit.

    Memory: one gradient per perturbable weight, so about the size of the model.
    """
    weights = {str(ref): passes.model.get_parameter(info.weight) for ref, info in passes.topology.modules.items()}
    count = sum(len(batch.index) for batch in malicious)
    total = {ref: torch.zeros_like(weight, dtype=torch.float32) for ref, weight in weights.items()}
    with trainable(weights.values()):
        for batch in malicious:
            score = signal.of_logits(baseline, first_token(passes.model, batch).float()).sum() / count
            for ref, gradient in zip(weights, torch.autograd.grad(score, list(weights.values())), strict=True):
                total[ref] += gradient
    return {
        ref: strength * float(weight.detach().float().norm() * total[ref].norm()) / weight.numel() ** 0.5
        for ref, weight in weights.items()
    }
