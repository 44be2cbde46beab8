"""Needs: what may a defence want beyond the task's rows, and what is to be done where it is missing?"""

from collections.abc import Callable
from dataclasses import dataclass

from securetune.defences.base.run import Resources


def _always(resources: Resources, adapter: str) -> bool:
    """What every run has, or makes by itself."""
    del resources, adapter
    return True


@dataclass(frozen=True)
class Need:
    """One thing that a defence may need."""

    name: str
    """In messages and tables."""
    is_met: Callable[[Resources, str], bool] = _always
    """Whether a run has it, by its resources and its adapter (``lora`` or ``full``)."""
    remedy: str = ""
    """What to do where it is missing."""

    def __str__(self) -> str:
        return self.name


SCAN = Need("scan")
REFERENCE = Need("reference model")
EXTRA_PASSES = Need("extra passes")
PLAIN_RUN = Need("plain run")
SAFETY_ROWS = Need(
    "safety rows", lambda resources, _: bool(resources.safety_rows), "Give rows with safe answers as `safety`."
)
PROMPTS = Need(
    "malicious and benign prompts",
    lambda resources, _: bool(resources.malicious) and bool(resources.benign),
    "Give both, as `malicious` and `benign`.",
)
UNALIGNED = Need(
    "unaligned model",
    lambda resources, _: resources.unaligned is not None,
    "Give the model as it was before its alignment as `unaligned`.",
)
LORA = Need("LoRA", lambda _, adapter: adapter == "lora", "Set train.adapter to lora.")
FULL = Need("full fine-tuning", lambda _, adapter: adapter == "full", "Set train.adapter to full.")
