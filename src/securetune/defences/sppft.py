"""SPPFT: find the layers where malicious and benign prompts come apart, and freeze them.

Source: Li et al., ICLR 2025 (arXiv 2408.17003), "safety layers". First bounds: where the angle between malicious and
benign prompts starts to exceed the one among benign prompts, up to where it stops growing fast. Then either bound is
moved while scaling the layers between them makes the model refuse more benign prompts. What "starts" (a tenth of the
largest gap) and "fast" (half of the largest growth) mean is our choice; refusals are counted at the first token.
Shapes: l layers, n prompts, d hidden size.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from securetune.defences.base.interface import RATES, Analysed, Defence, PlanInputs, Settings
from securetune.models.features import extract_features, extract_layer_states
from securetune.models.topology import ModuleSet
from securetune.perturb.base.apply import Perturbation, perturbed
from securetune.plans.plan import Plan, module_entries, rest

Bounds = tuple[int, int]
"""First and last safety layer."""


class SafetyLayers(Settings):
    """Settings of SPPFT."""

    pairs: int = Field(default=500, ge=10)
    """Pairs of prompts whose angle is measured."""
    factor: float = Field(default=1.2, gt=0)
    """By what the layers are scaled to refine the bounds (the paper: 1.1 to 1.2, or 0.8)."""
    refine: bool = True
    """Whether the bounds are refined."""


class Sppft(Defence):
    """Freezing of the safety layers."""

    title, paper = "SPPFT", "arXiv 2408.17003"
    decides = (RATES,)
    cost = "none; fewer parameters train"
    Settings = SafetyLayers

    def edit_plan(self, inputs: PlanInputs) -> Plan:
        """No rate in the safety layers."""
        analysed = inputs.analysed()
        malicious, benign = (extract_layer_states(analysed.model, b) for b in (analysed.malicious, analysed.benign))
        bounds = first_bounds(angle_gaps(malicious, benign, pairs=self.settings.pairs, seed=inputs.seed))
        if self.settings.refine:
            bounds = refined(bounds, len(malicious), lambda tried: self._refusals(inputs, analysed, tried))
        frozen = _layers(inputs, bounds)
        return Plan(
            method="sppft",
            model=inputs.model,
            entries=(*module_entries(frozen, inputs.topology, lr_mult=0.0), rest(1.0)),
            robust=tuple((inputs.topology.all - frozen).names()),
            seed=inputs.seed,
            versions=inputs.versions,
        )

    def _refusals(self, inputs: PlanInputs, analysed: Analysed, bounds: Bounds) -> int:
        """How many benign prompts the model refuses with the layers between the bounds scaled."""
        with perturbed(
            analysed.model,
            inputs.topology,
            _layers(inputs, bounds),
            Perturbation(lambda weight, strength, _: weight.float() * strength),
            strength=self.settings.factor - 1,
            seed=0,
        ):
            features = extract_features(analysed.model, analysed.benign)
        return int((analysed.openings.margin(features.logits) > 0).sum())


def angle_gaps(
    malicious: Float[Tensor, "l n d"], benign: Float[Tensor, "l m d"], *, pairs: int, seed: int
) -> Float[Tensor, " l"]:
    """Mean angle between a malicious and a benign prompt minus that between two benign ones, per layer, in radians."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> Tensor:
        return torch.randint(count, (pairs,), generator=generator)

    first, other, across = draw(benign.shape[1]), draw(benign.shape[1]), draw(malicious.shape[1])
    different = first != other
    among = _angles(benign[:, first[different]], benign[:, other[different]])
    return _angles(benign[:, first], malicious[:, across]).mean(-1) - among.mean(-1)


def _angles(a: Float[Tensor, "l p d"], b: Float[Tensor, "l p d"]) -> Float[Tensor, "l p"]:
    return torch.nn.functional.cosine_similarity(a, b, dim=-1).clamp(-1, 1).arccos()


def first_bounds(gaps: Float[Tensor, " l"]) -> Bounds:
    """From the layer where the gap reaches a tenth of its largest to the last that adds half the largest growth."""
    first = int((gaps >= 0.1 * gaps.max()).nonzero()[0])
    growth = gaps.diff(prepend=torch.zeros(1))
    last = int((growth >= growth.max() / 2).nonzero()[-1])
    return first, max(first, last)


def refined(bounds: Bounds, layers: int, refusals: Callable[[Bounds], int]) -> Bounds:
    """Move the last, then the first bound, step by step, as long as that makes more benign prompts refused."""
    best = refusals(bounds)
    for moves in (((0, 1), (0, -1)), ((-1, 0), (1, 0))):
        for down, up in moves:
            while True:
                candidate = bounds[0] + down, bounds[1] + up
                if not 0 <= candidate[0] <= candidate[1] < layers or (count := refusals(candidate)) <= best:
                    break
                bounds, best = candidate, count
    return bounds


def _layers(inputs: PlanInputs, bounds: Bounds) -> ModuleSet:
    first, last = bounds
    return ModuleSet.of(ref for ref in inputs.topology.all if first <= ref.layer <= last)


defence = Sppft
