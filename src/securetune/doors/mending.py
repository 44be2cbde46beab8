"""Mending: a tuned model is loaded, mended in memory, and asked, or written whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from securetune.base.artifacts import write_atomic
from securetune.base.files import PARTIAL
from securetune.base.machine import writing
from securetune.defences.base.combination import Combination
from securetune.defences.base.run import Resources, TrainingRun
from securetune.doors.repair import Candidate
from securetune.errors import ModelError
from securetune.models.adapters import targets
from securetune.models.config import ModelConfig
from securetune.models.loading import LazyModel, load_given, load_model, load_tokenizer, stored_tokenizer
from securetune.plans.plan import Plan

_ADAPTER = "default"
"""What PEFT calls an adapter that is loaded first."""


def mended(candidate: Candidate, base: ModelConfig) -> PreTrainedModel | PeftModel:
    """The tuned model as its candidate wants it, in evaluation mode.

    Raises:
        SecuretuneError: it cannot be loaded, or not be mended that way.
    """
    model, mend = load_given(candidate, base), candidate.mend
    if mend is None:
        return model
    if not isinstance(model, PeftModel) and getattr(model, "is_quantized", False):
        raise ModelError(
            f"Expected whole weights in {candidate.path!r}, found quantized ones, which cannot be mixed with others. "
            "Give the adapter instead, or the model before it was quantized."
        )
    if isinstance(model, PeftModel):
        model.set_adapter(_ADAPTER)  # PEFT loads adapters frozen, and only what trains is mended
    plan = None if mend.plan is None else Plan.load(mend.plan)
    if plan is not None:
        plan.check_patterns(name for target in targets(model).values() for name in target.names)
    unaligned = None if mend.unaligned is None else _like(base, mend.unaligned)
    run = TrainingRun(
        model=model,
        tokenizer=load_tokenizer(base),
        reference=lambda: _before(model, base),
        resources=Resources(unaligned=unaligned),
        plan=plan,
        total_steps=0,
    )
    Combination.of(mend.defence, {mend.defence: mend.settings}).finalize(run)
    left = run.model
    assert isinstance(left, PreTrainedModel | PeftModel)
    return left.requires_grad_(False).eval()


def _like(base: ModelConfig, path: str) -> LazyModel:
    """Another model, loaded as the one before tuning is."""
    return LazyModel(base.model_copy(update={"path": path, "revision": None}))


@contextmanager
def _before(model: PreTrainedModel | PeftModel, base: ModelConfig) -> Iterator[nn.Module]:
    """The model before tuning: what is under the adapter, or the model loaded once more."""
    if isinstance(model, PeftModel):
        with model.disable_adapter():
            yield model
    else:
        yield load_model(base)


def write_mended(model: PreTrainedModel | PeftModel, base: ModelConfig, folder: Path, card: str) -> None:
    """Write a mended adapter, or a mended model with its tokenizer, and its card.

    Raises:
        MachineError: the machine refuses.
    """
    partial = folder.with_name(f".{folder.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    with writing(partial):
        model.save_pretrained(str(partial))
        if not isinstance(model, PeftModel):
            stored_tokenizer(base).save_pretrained(str(partial))
        write_atomic(partial / "README.md", card)
        os.replace(partial, folder)
