"""Processes: is this one of several that `accelerate launch` has started, and which?"""

import os

import torch
from accelerate import PartialState


def processes() -> PartialState:
    """This process among its peers; on a machine without GPUs they talk over gloo."""
    is_cpu = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available()
    return PartialState(cpu=is_cpu)
