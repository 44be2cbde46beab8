"""Tensors: small things that everybody does to a model and its weights.

Shapes: n tokens, v vocabulary.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

IGNORED = -100
"""Label of a token that is not learned."""


def copies(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters as they are now."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@torch.no_grad()
def load_copies(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Put what `copies` has kept back in place."""
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


@contextmanager
def put_back(parameters: Mapping[str, Tensor]) -> Iterator[None]:
    """Whatever happens to the parameters within, they are afterwards as they were."""
    values = copies(parameters)
    try:
        yield
    finally:
        load_copies(parameters, values)


def is_sharded(model: nn.Module) -> bool:
    """Whether several processes hold a part each of every weight (FSDP2)."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded over processes; all of them have to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def divergence(
    reference: Float[Tensor, "n v"], now: Float[Tensor, "n v"], temperature: float = 1.0
) -> Float[Tensor, " n"]:
    """KL divergence of the model's from the reference's token distribution, in nats."""
    before, after = (logits.div(temperature).log_softmax(-1) for logits in (reference, now))
    return (before.exp() * (before - after)).sum(-1)


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Without dropout for a while."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def plain(model: Any) -> PreTrainedModel:
    """The Hugging Face model inside a PEFT wrapper."""
    inner: PreTrainedModel = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner
