"""Mending: a tuned model is loaded, mended in memory, and asked, or written whole or not at all.

What steps on safe answers have made of the weights is kept in a file: the model that is written is the very one that
was asked, also where the machine does not compute the same twice.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from securetune.base.artifacts import write_atomic
from securetune.base.files import PARTIAL, digest
from securetune.base.fingerprint import fingerprint
from securetune.base.machine import writing
from securetune.data.examples import load_examples
from securetune.defences.base.combination import Combination
from securetune.defences.base.run import Resources, TrainingRun
from securetune.doors.repair import Candidate
from securetune.errors import ArtifactError, ModelError
from securetune.models.adapters import targets
from securetune.models.config import ModelConfig
from securetune.models.loading import LazyModel, load_given, load_model, load_tokenizer, stored_tokenizer
from securetune.plans.plan import Plan

_SEAL = "digest"
_ADAPTER = "default"
"""What PEFT calls an adapter that is loaded first."""


def mended(candidate: Candidate, base: ModelConfig, folder: Path) -> PreTrainedModel | PeftModel:
    """The tuned model as its candidate wants it, in evaluation mode.

    Args:
        candidate: the tuned model, and what is done to it.
        base: the model before tuning.
        folder: where what was trained is kept.

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
    is_whole = not isinstance(model, PeftModel)
    if isinstance(model, PeftModel):
        model.set_adapter(_ADAPTER)  # PEFT loads adapters frozen, and only what trains is mended
    elif mend.safety is not None:
        model = _with_patch(model)
    safety_rows = [] if mend.safety is None else load_examples(mend.safety, seed=0, folder=folder)
    plan = None if mend.plan is None else Plan.load(mend.plan)
    if plan is not None:
        plan.check_patterns(name for target in targets(model).values() for name in target.names)
    unaligned = None if mend.unaligned is None else _like(base, mend.unaligned)
    run = TrainingRun(
        model=model,
        tokenizer=load_tokenizer(base),
        reference=lambda: _before(model, base),
        resources=Resources(safety_rows=safety_rows, unaligned=unaligned),
        plan=plan,
        total_steps=0,
    )
    done = Combination.of(mend.defence, {mend.defence: mend.settings})
    if mend.safety is None:
        done.finalize(run)
    else:
        _once(run, done, folder / f"{digest([fingerprint(candidate), fingerprint(base)])}.safetensors")
        if is_whole:
            run.merge()
    left = run.model
    assert isinstance(left, PreTrainedModel | PeftModel)
    return left.requires_grad_(False).eval()


def _with_patch(model: PreTrainedModel) -> PeftModel:
    """A whole model under a new adapter, which small steps do not round away in, as they do in 16 bits."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return get_peft_model(
            model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        )


def _once(run: TrainingRun, done: Combination, file: Path) -> None:
    """Tune what is trainable as the defences do, or take it from the file where that was done before."""
    trainable = run.trainable()
    if file.exists():
        with torch.no_grad():
            for name, kept in _kept(file).items():
                trainable[name].copy_(kept)
        return
    done.finalize(run)
    weights = {name: parameter.detach().cpu().clone() for name, parameter in trainable.items()}
    partial = file.with_suffix(PARTIAL)
    with writing(file):
        save_file(weights, partial, metadata={_SEAL: _digest(weights)})
        os.replace(partial, file)


def _kept(file: Path) -> dict[str, Tensor]:
    """The weights in a file that `_once` has written.

    Raises:
        ArtifactError: they were changed.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            seal = (stored.metadata() or {}).get(_SEAL)
    except SafetensorError:
        weights, seal = {}, None
    if seal is None or seal != _digest(weights):
        raise ArtifactError(
            f"Expected the weights that steps on safe answers have left in {file} as they were written, found others. "
            f"Move the folder {file.parent} away, and repeat the command."
        )
    return weights


def _digest(weights: Mapping[str, Tensor]) -> str:
    raw = {name: weight.contiguous().view(torch.uint8).numpy() for name, weight in weights.items()}
    return digest({name: sha256(numbers).hexdigest() for name, numbers in raw.items()})


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
