"""Libraries: what is asked of those below us: which process is this, and would they please be quiet?"""

import logging
import os
import warnings

import datasets
import torch
import transformers
from accelerate import PartialState


def processes() -> PartialState:
    """This process among the peers that `accelerate launch` has started; without GPUs they talk over gloo."""
    is_cpu = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available()
    return PartialState(cpu=is_cpu)


def quiet_libraries() -> None:
    """Keep the libraries' notices and progress bars out of the way, unless debug logs are on; ours stay."""
    if logging.getLogger().level > logging.DEBUG:
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        datasets.disable_progress_bars()
