"""Gradient: how sensitive is every module, from one backward pass?

A random change of norm s |W| in a weight W with p entries moves a score S by a first-order amount whose standard
deviation is s |W| |dS/dW| / sqrt(p). That stands in for the drop: it ranks modules, it does not tell how much is lost.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from securetune.models.features import PromptBatch, first_token
from securetune.scan.passes import Passes
from securetune.scan.signals.base.interface import Baseline, LogitSignal


def gradients(weights: Mapping[str, Tensor], parts: Iterable[Tensor]) -> dict[str, Tensor]:
    """Gradient of a sum with respect to every weight, float32; the weights may be frozen.

    The parts of the sum are computed as they are asked for, so that no two passes are held.
    """
    frozen = [weight for weight in weights.values() if not weight.requires_grad]
    total = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        with torch.enable_grad():
            for part in parts:
                found = torch.autograd.grad(part, list(weights.values()))
                for name, gradient in zip(weights, found, strict=True):
                    total[name] += gradient
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
    return total


def gradient_drops(
    passes: Passes, malicious: Sequence[PromptBatch], baseline: Baseline, signal: LogitSignal, strength: float
) -> dict[str, float]:
    """Standard deviation of the first-order change of the signal, per module, in its unit.

    Memory: one gradient per perturbable weight, so about the size of the model.
    """
    weights = {str(ref): passes.model.get_parameter(info.weight) for ref, info in passes.topology.modules.items()}
    count = sum(len(batch.index) for batch in malicious)
    scores = (signal.of_logits(baseline, first_token(passes.model, batch).float()).sum() / count for batch in malicious)
    total = gradients(weights, scores)
    return {
        ref: strength * float(weight.detach().float().norm() * total[ref].norm()) / weight.numel() ** 0.5
        for ref, weight in weights.items()
    }
