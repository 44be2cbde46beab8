"""Given: which tuned model does somebody want checked, and is it one of the model before tuning? No torch.

A folder or an id on the Hub with adapter_config.json is an adapter of PEFT over the model before tuning, any other one
and a GGUF file a whole model. An address is an endpoint's, of which nothing is here, see `served`.
"""

import filecmp
import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel

from securetune.base.fingerprint import Content
from securetune.base.places import expanded
from securetune.base.strict import Strict
from securetune.base.texts import read_object
from securetune.errors import ModelError
from securetune.models.config import ModelConfig
from securetune.models.files import check_adapter, check_model, tensor_shapes
from securetune.models.identity import adapter_files, model_identity
from securetune.models.source import ADAPTER, ADAPTER_WEIGHTS, adapter_folder, weights_of


class GivenContent(Content):
    """Marks a text that names a tuned model: an adapter counts by its files, a whole model as any model does."""

    def of(self, path: str, owner: BaseModel) -> object:
        """See `Content.of`."""
        revision = getattr(owner, "revision", None)
        adapter = adapter_folder(path, revision)
        return model_identity(path, revision) if adapter is None else adapter_files(adapter)


class GivenConfig(Strict):
    """A model that was tuned elsewhere."""

    path: Annotated[str, GivenContent()]
    """Folder or Hub id of an adapter as PEFT writes it or of a whole model, or in a check a GGUF file or an endpoint,
    written ``http://host/v1#name``."""
    revision: str | None = None
    """Branch, tag or commit on the Hub."""

    @property
    def adapter(self) -> Path | None:
        """Folder of the adapter; None of a whole model and of an endpoint."""
        return adapter_folder(self.path, self.revision)

    def as_model(self, base: ModelConfig) -> ModelConfig:
        """How a whole model is loaded: as the one before tuning."""
        return base.model_copy(update={"path": self.path, "revision": self.revision})


def check_given(given: GivenConfig, base: ModelConfig) -> None:
    """Make sure that a tuned model is whole, and is another one than the model before tuning.

    Raises:
        ModelError: nothing there, an adapter without weights or of a model of another shape, or the same model twice.
    """
    if given.adapter is None:
        check_model(given.path, given.revision)
        _check_other(given, base)
        return
    check_adapter(given.adapter)
    _check_shapes(given.adapter, base)


def is_same_model(model: GivenConfig | ModelConfig, other: GivenConfig | ModelConfig) -> bool:
    """Whether two whole models have the same weights, as far as the files that are here tell."""
    folder, another = expanded(model.path), expanded(other.path)
    if folder.is_dir() and another.is_dir():
        return os.path.realpath(folder) == os.path.realpath(another) or _have_equal_weights(folder, another)
    return (model.path, model.revision) == (other.path, other.revision)


def _check_other(given: GivenConfig, base: ModelConfig) -> None:
    if is_same_model(given, base):
        raise ModelError(
            f"Expected a tuned model that differs from the one before tuning, found the same weights at {base.path!r} "
            f"and {given.path!r}. Give the model before tuning first, then the tuned one."
        )


def _have_equal_weights(before: Path, after: Path) -> bool:
    """Whether two folders hold the same files of weights; read up to the first byte that differs."""
    names, others = (sorted(file.name for file in folder.glob("*.safetensors")) for folder in (before, after))
    return names == others != [] and all(filecmp.cmp(before / name, after / name, shallow=False) for name in names)


def _check_shapes(adapter: Path, model: ModelConfig) -> None:
    """Make sure that every factor of an adapter fits the weight it changes, as far as both files tell.

    Of what a quantized model stores the shape says nothing, and of a model on the Hub no file is here: PEFT tells then.
    """
    folder, file = expanded(weights_of(model.path, model.revision)[0]), adapter / ADAPTER_WEIGHTS[0]
    if not (folder.is_dir() and file.is_file()) or _is_quantized(folder):
        return
    weights = {name: shape for part in folder.glob("*.safetensors") for name, shape in tensor_shapes(part).items()}
    for name, shape in tensor_shapes(file).items():
        path, is_factor, factor = name.removeprefix("base_model.model.").partition(".lora_")
        own = weights.get(f"{path}.weight") if is_factor else None
        side = {"A.weight": 1, "B.weight": 0}.get(factor)
        if own is not None and side is not None and len(own) == len(shape) and shape[side] != own[side]:
            raise ModelError(
                f"Expected an adapter of {model.path!r} in {str(adapter)!r}, found one of a model of another shape: "
                f"{name} is {list(shape)}, and the weight {path} is {list(own)}. Give the model that it was trained on"
                f"{_trained_on(adapter)}."
            )


def _is_quantized(folder: Path) -> bool:
    return bool(read_object(folder / "config.json", ModelError).get("quantization_config"))


def _trained_on(adapter: Path) -> str:
    """What the adapter names as its model."""
    name = read_object(adapter / ADAPTER, ModelError).get("base_model_name_or_path")
    return f", which it names {name!r}" if name else ""
