"""Price: how much task loss does a module gain, and how much refusal margin does it lose, when all are tuned?

A plain run is walked from its start to its end, and every module's part of what changes on the way is the
gradient times the module's own step, summed. The parts of all modules add up to the whole change.

Source: integrated gradients, Sundararajan et al. 2017, arXiv 1703.01365, section 3; taken over weights, ours.
"""

from collections.abc import Callable, Iterable

from torch import Tensor
from transformers import PreTrainedModel

from securetune.measures.knapsack import Price
from securetune.models.topology import Topology
from securetune.perturb import PERTURBATIONS
from securetune.perturb.base.apply import Learned, perturbed
from securetune.scan.gradient import gradients

_POINTS = 4
"""Where gradients are taken on the way, each in the middle of its part."""

Parts = Callable[[], Iterable[Tensor]]
"""Parts of a sum, each computed when it is asked for."""


def prices(
    model: PreTrainedModel, topology: Topology, change: Learned, *, loss: Parts, margin: Parts
) -> dict[str, Price]:
    """The price of every module.

    Args:
        model: the model before tuning; its weights come back.
        topology: its modules.
        change: by a plain run.
        loss: the task loss, in nats per answer token.
        margin: the mean refusal margin of malicious prompts, in nats.

    Memory: a copy and two gradients per perturbable weight besides the model itself.
    """
    risen, moved = (_moved(model, topology, change, parts) for parts in (loss, margin))
    return {ref: Price(gain=-risen[ref], cost=-moved[ref]) for ref in risen}


def _moved(model: PreTrainedModel, topology: Topology, change: Learned, parts: Parts) -> dict[str, float]:
    """By how much the sum of the parts changes through every module on the way."""
    weights = {str(ref): model.get_parameter(info.weight) for ref, info in topology.modules.items()}
    paths = {str(ref): info.path for ref, info in topology.modules.items()}
    total = dict.fromkeys(weights, 0.0)
    for point in range(_POINTS):
        place = (point + 0.5) / _POINTS
        on_the_way = perturbed(
            model, topology, topology.all, PERTURBATIONS.get("tuned"), strength=place, seed=0, learned=change
        )
        with on_the_way:
            for ref, gradient in gradients(weights, parts()).items():
                total[ref] += float((gradient * change(paths[ref]).to(gradient.device)).sum()) / _POINTS
    return total
