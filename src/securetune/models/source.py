"""Source: where are a model's weights? In a folder, on the Hub, in one GGUF file, or in an adapter over another model.

No torch.
"""

import functools
import importlib.util
import os
from pathlib import Path
from typing import Any

from securetune.base.places import expanded, looks_local
from securetune.base.texts import read_object
from securetune.errors import ModelError
from securetune.models.served import is_served

ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_MAGIC = b"GGUF"
_BESIDE = ["adapter_*", "*.json", "*.jinja", "*.model", "*.txt"]
"""Files of an adapter's repository that are downloaded: the adapter, and the tokenizer beside it."""
_OWN = "Merge it first: `PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(folder)`."


def is_gguf(path: str) -> bool:
    """Whether a path names a GGUF file."""
    return path.lower().endswith(".gguf")


def pretrained(path: str) -> tuple[str, dict[str, Any]]:
    """What `from_pretrained` finds a model by: a folder or Hub id, and of a GGUF file its name there."""
    place = expanded(path)
    if is_gguf(path):
        return str(place.parent), {"gguf_file": place.name}
    return (str(place) if place.is_dir() else path), {}


def check_gguf(path: str) -> None:
    """Make sure that a GGUF file is one, and that what reads it is installed.

    Raises:
        ModelError: no such file, another kind of file, or no package `gguf`.
    """
    file = expanded(path)
    if not file.is_file():
        raise ModelError(
            f"Expected a GGUF file at {path!r}, found nothing there. Check the path; one on the Hub is downloaded with "
            "`hf download`."
        )
    with file.open("rb") as stream:
        start = stream.read(len(_MAGIC))
    if start != _MAGIC:
        raise ModelError(
            f"Expected a GGUF file at {path!r}, found one that begins with {start!r}. Copy or download it again."
        )
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(
            f"Expected the package gguf, which reads {path!r}, found it missing. Install it: pip install "
            "'securetune[gguf]'."
        )


def is_adapter(folder: Path) -> bool:
    """Whether a folder is an adapter's of PEFT, and no whole model's."""
    return (folder / ADAPTER).is_file() and not (folder / "config.json").exists()


def adapter_folder(path: str, revision: str | None = None) -> Path | None:
    """The folder of an adapter of PEFT; None where a path is a whole model's, or an endpoint's.

    An adapter on the Hub is downloaded.

    Raises:
        ModelError: its files cannot be had.
    """
    folder = expanded(path)
    if os.path.isdir(folder) or looks_local(path) or is_served(path):
        return folder if is_adapter(folder) else None
    return _downloaded(path, revision)


@functools.cache
def _downloaded(path: str, revision: str | None) -> Path | None:
    from huggingface_hub import hf_hub_download, snapshot_download

    try:
        hf_hub_download(path, ADAPTER, revision=revision)
    except Exception:  # no adapter, no such id, or no way to the Hub: whoever loads the model says which
        return None
    try:
        return Path(snapshot_download(path, revision=revision, allow_patterns=_BESIDE))
    except Exception as error:  # the Hub client raises many kinds
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise ModelError(
            f"Expected the files of the adapter {path!r} on the Hub, found: {reason}. Check the network and your "
            "access (hf auth login), or give a local folder."
        ) from error


def below(adapter: Path) -> tuple[str, str | None]:
    """Path and revision of the model that an adapter names as its own.

    Raises:
        ModelError: it names none.
    """
    settings = read_object(adapter / ADAPTER, ModelError)
    path, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    if not isinstance(path, str) or not path.strip():
        raise ModelError(
            f"Expected the model that the adapter in {str(adapter)!r} was trained on as base_model_name_or_path in its "
            f"{ADAPTER}, found {path!r}. Write the folder or Hub id there."
        )
    return path, revision if isinstance(revision, str) and revision else None


def weights_of(path: str, revision: str | None = None) -> tuple[str, str | None]:
    """Path and revision of the whole model that is under an adapter, or under several; a whole model's are its own.

    Raises:
        ModelError: an adapter names no model, or stands on itself.
    """
    seen = {path}
    while (adapter := adapter_folder(path, revision)) is not None:
        path, revision = below(adapter)
        if path in seen:
            raise ModelError(
                f"Expected a whole model under the adapter in {str(adapter)!r}, found that it stands on {path!r} "
                f"again. Correct base_model_name_or_path in its {ADAPTER}."
            )
        seen.add(path)
    return path, revision


def check_trainable(path: str) -> None:
    """Make sure that a model can be tuned, such that what is written names all that it stands on.

    Raises:
        ModelError: it is a GGUF file or an adapter.
    """
    if is_gguf(path):
        raise ModelError(
            f"Expected a model to tune, found the GGUF file {path!r}, whose weights are quantized to serve them. Give "
            "the model that it was made from. `securetune check` reads GGUF files."
        )
    if is_adapter(expanded(path)):
        raise ModelError(
            f"Expected a whole model, found an adapter in {path!r}: what is tuned on it would name the model below it "
            f"as its own. {_OWN}"
        )
