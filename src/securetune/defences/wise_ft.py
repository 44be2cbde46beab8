"""WiSE-FT: go back a part of the way to the weights before tuning.

Source: Wortsman et al., CVPR 2022 (arXiv 2109.01903); for the refusals of chat models arXiv 2412.19512:
w0 + share (w - w0). Of a LoRA adapter the outer factor B becomes share B. Where a plan is in force, only what it holds
back moves (ours). The default share is our choice.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pydantic import Field

from securetune.defences.base.interface import WEIGHTS, Defence, Settings
from securetune.defences.base.needs import REFERENCE
from securetune.defences.base.run import TrainingRun
from securetune.errors import ConfigError
from securetune.models.tensors import put_back
from securetune.models.topology import clean_name

_INNER = re.compile(r"\.lora_(embedding_)?A\.")
_OUTER = re.compile(r"\.lora_(embedding_)?B\.")
_SAVED = re.compile(r"\.modules_to_save\.[^.]+\.")


class Interpolated(Settings):
    """Settings of WiSE-FT."""

    share: float = Field(default=0.5, gt=0, le=1)
    """Share of the tuning's change that is kept."""


class WiseFt(Defence):
    """Interpolation between the weights before and after tuning."""

    title, paper = "WiSE-FT", "arXiv 2109.01903"
    needs, decides = (REFERENCE,), (WEIGHTS,)
    cost = "none; with all weights tuned, a copy of the model before tuning"
    Settings = Interpolated

    def begin(self, run: TrainingRun) -> None:
        """Look at the adapter, so that one of another kind is told before hours of tuning."""
        check_scalable(run)

    @contextmanager
    def evaluated(self, run: TrainingRun) -> Iterator[None]:
        """Measure what will be left, not the weights on the way."""
        with put_back(run.trainable()):
            self.finalize(run)
            yield

    @torch.no_grad()
    def finalize(self, run: TrainingRun) -> None:
        """Go back."""
        check_scalable(run)
        moved = run.sensitive()
        whole = {}
        for name, parameter in moved.items():
            if _OUTER.search(name):
                parameter.mul_(self.settings.share)
            elif not _INNER.search(name):
                whole[_SAVED.sub(".original_module.", name)] = parameter
        if not whole:
            return
        with run.reference() as model:
            before = dict(model.named_parameters(remove_duplicate=False))  # a head may be tied
            for name, parameter in whole.items():
                start = before[name].detach().to(parameter.device).float()
                parameter.copy_(torch.lerp(start, parameter.float(), self.settings.share))


def check_scalable(run: TrainingRun) -> None:
    """Make sure that all that was trained of an adapter can be interpolated.

    Raises:
        ConfigError: something beside LoRA's factors and whole modules was.
    """
    if not hasattr(run.model, "get_base_model"):
        return
    known = (_INNER, _OUTER, _SAVED)
    others = [name for name in run.trainable() if not any(pattern.search(name) for pattern in known)]
    if others:
        raise ConfigError(
            f"Expected an adapter of LoRA's two factors for WiSE-FT, found {len(others)} other trained parameters, "
            f"such as {clean_name(others[0])}. Use plain LoRA, or merge the adapter and tune or mend the whole model."
        )


defence = WiseFt
