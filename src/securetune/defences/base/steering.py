"""Steering: the state after a layer is moved along a direction."""

from typing import Any

from torch import Tensor


def shifted(output: Any, shift: Tensor) -> Any:
    """What a decoder layer gives, with its state moved."""
    if isinstance(output, tuple):
        return (output[0] + shift.to(output[0]), *output[1:])
    return output + shift.to(output)
