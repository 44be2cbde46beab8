"""Files: is what lies in a model's folder whole, and of one model? Answered from the files' headers. No torch."""

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from securetune.base.places import expanded
from securetune.base.texts import read_object
from securetune.errors import ModelError
from securetune.models.identity import check_folder
from securetune.models.source import ADAPTER, ADAPTER_WEIGHTS, below, is_adapter, is_gguf, weights_of

_POINTER = b"version https://git-lfs"
_SMALL = 1024
"""Bytes; a Git-LFS pointer is smaller."""
_WHOLE_NUMBERS = ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "BOOL")
_UNSCALED = (*_WHOLE_NUMBERS, "F8_E4M3", "F8_E5M2", "C64")
"""Numbers that are no weights as they stand: whoever quantized them keeps their scales elsewhere."""
_WHOLE = "model.safetensors"
_GENERATION = "generation_config.json"
_INDEX = "model.safetensors.index.json"
_LIBRARIES = {
    "aqlm": ("aqlm",),
    "auto-round": ("auto_round",),
    "awq": ("gptqmodel", "awq"),
    "bitsandbytes": ("bitsandbytes",),
    "compressed-tensors": ("compressed_tensors",),
    "fbgemm_fp8": ("fbgemm_gpu",),
    "gptq": ("gptqmodel", "auto_gptq"),
    "hqq": ("hqq",),
    "quanto": ("optimum",),
    "spqr": ("spqr_quant",),
    "torchao": ("torchao",),
    "vptq": ("vptq",),
}
"""How weights are quantized -> the packages of which one can read them."""


def check_model(path: str, revision: str | None = None) -> None:
    """Make sure that a model's folder, where it is one, holds it whole, and that what reads it is installed.

    Args:
        path: folder, or id on the Hub.
        revision: of a model on the Hub; a folder has none.

    Raises:
        ModelError: see `check_folder`; a Git-LFS pointer, a file cut short, a missing part, an adapter beside full
            weights, or a missing library.
    """
    check_folder(path)
    folder = expanded(path)
    if is_gguf(path) or not os.path.isdir(folder):
        return
    if is_adapter(folder):
        weights_of(path)  # ends
        check_adapter(folder)
        _check_below(folder)
        return
    if revision is not None:
        raise ModelError(
            f"Expected no revision of the model folder {str(folder)!r}, found {revision!r}: a folder is what lies in "
            "it. Leave `revision` out, or give the model's id on the Hub."
        )
    for file in sorted(folder.iterdir()):
        if not file.exists() or not (file.is_file() or file.is_dir()):
            raise ModelError(
                f"Expected files in the model folder {str(folder)!r}, found that {file.name} is a link to nothing, a "
                "device or a pipe. Copy the file itself."
            )
        if file.is_file() and file.stat().st_size < _SMALL and file.read_bytes().startswith(_POINTER):
            raise ModelError(
                f"Expected the file itself at {file}, found a Git-LFS pointer to it. Run `git lfs pull` where the "
                "model was cloned, or download it with `hf download`."
            )
    config = read_object(folder / "config.json", ModelError)
    if (folder / _GENERATION).exists():
        read_object(folder / _GENERATION, ModelError)  # where it is broken, its library takes an end from elsewhere
    if (folder / ADAPTER).exists():
        raise ModelError(
            f"Expected one model in {str(folder)!r}, found full weights (config.json) and an adapter "
            "(adapter_config.json), which may name another base model. Move the adapter to a folder of its own, or "
            "merge it into the weights."
        )
    if (folder / _INDEX).exists() and (folder / _WHOLE).exists():
        raise ModelError(
            f"Expected one set of weights in {str(folder)!r}, found {_WHOLE} and the parts that {_INDEX} names. Move "
            "those away that do not belong to the model."
        )
    headers = {file.name: _header(file) for file in sorted(folder.glob("*.safetensors"))}
    if not config.get("quantization_config"):
        _check_numbers(folder, headers)
    names = {file: set(header) for file, header in headers.items()}
    if (folder / _INDEX).exists():
        _check_index(folder / _INDEX, names)
    _check_library(folder, config)


def check_adapter(adapter: Path) -> None:
    """Make sure that an adapter's folder holds its weights.

    Raises:
        ModelError: it does not.
    """
    if not any((adapter / name).is_file() for name in ADAPTER_WEIGHTS):
        raise ModelError(
            f"Expected the weights of an adapter in {str(adapter)!r}, found no {ADAPTER_WEIGHTS[0]}. Copy the folder "
            "again, or save the adapter with `save_pretrained`."
        )


def _check_below(adapter: Path) -> None:
    """Make sure that the model is there that an adapter names."""
    try:
        check_model(*below(adapter))
    except ModelError as error:
        raise ModelError(
            f"Expected the model that {str(adapter / ADAPTER)} names as base_model_name_or_path. {error}"
        ) from error


def _header(file: Path) -> dict[str, Any]:
    """The tensors in a safetensors file: the length of a JSON header, the header, then as many bytes as it says."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        head = stream.read(length) if 8 + length <= size else b""
    try:
        header: dict[str, Any] = json.loads(head)
        header.pop("__metadata__", None)
        wanted = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"Expected a whole safetensors file at {file}, found {size:,} bytes without a readable header. Copy or "
            "download it again."
        ) from error
    if size != wanted:
        raise ModelError(
            f"Expected {wanted:,} bytes in {file}, as its header says, found {size:,}. Copy or download it again."
        )
    return header


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor in a safetensors file, by name.

    Raises:
        ModelError: the file is cut short.
    """
    return {name: tuple(tensor["shape"]) for name, tensor in _header(file).items()}


def _check_numbers(folder: Path, headers: Mapping[str, Mapping[str, Any]]) -> None:
    """Make sure that a model that is not quantized has no weight in numbers that nobody would scale back."""
    whole = sorted(
        name
        for header in headers.values()
        for name, tensor in header.items()
        if name.endswith(".weight") and tensor.get("dtype") in _UNSCALED
    )
    if whole:
        raise ModelError(
            f"Expected weights of real numbers in {str(folder)!r}, as its config.json names no quantization, found "
            f"whole numbers in {named(whole)}, or others that need a scale. Save the model again, or copy its "
            "config.json with quantization_config."
        )


def _check_index(index: Path, names: Mapping[str, set[str]]) -> None:
    places = read_object(index, ModelError).get("weight_map")
    if not isinstance(places, dict):
        raise ModelError(f"Expected `weight_map` in {index}, found none. Copy the file again.")
    missing_files = sorted({str(part) for part in places.values()} - {*names, *_others(index)})
    if missing_files:
        raise ModelError(
            f"Expected the files that {index} names, found no {', '.join(missing_files)}. Copy or download them."
        )
    missing = sorted(name for name, part in places.items() if part in names and name not in names[part])
    if missing:
        raise ModelError(
            f"Expected the tensors that {index} names, found no {named(missing)} in {places[missing[0]]}. Copy or "
            "download the files again."
        )


def _others(index: Path) -> set[str]:
    return {file.name for file in index.parent.iterdir() if file.suffix != ".safetensors"}


def _check_library(folder: Path, config: Mapping[str, Any]) -> None:
    quantization = config.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    libraries = _LIBRARIES.get(str(method), ())
    if libraries and not any(importlib.util.find_spec(library) for library in libraries):
        raise ModelError(
            f"Expected {' or '.join(libraries)}, which reads the {method} weights of {str(folder)!r}, found no such "
            f"package. Install it (pip install {libraries[0].replace('_', '-')}), or give the model before it was "
            "quantized."
        )


def named(names: list[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
