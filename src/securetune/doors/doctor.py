"""Doctor: is everything there that this package needs, and would this model do? Answered without torch.

`securetune.doors.doctored` asks what only torch and transformers can tell.
"""

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from math import prod
from pathlib import Path

from packaging.requirements import Requirement

from securetune.base.places import expanded
from securetune.errors import ModelError

MAIN = ("torch", "transformers", "peft", "trl", "accelerate", "datasets")
"""Packages that are always told; of others only what is wrong."""
EXTRAS = {
    "quantized": "tunes models that are loaded in 4 bits (model.load_in_4bit)",
    "vllm": "generates answers faster on a GPU (evaluate.engine: vllm)",
    "gguf": "reads GGUF files (securetune check)",
    "dask": "takes the jobs of a comparison to a cluster (executor: dask)",
    "lm-eval": "runs tasks of lm-evaluation-harness (securetune.harness)",
}
"""What each extra gives."""
GIB = 2**30
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
_FULL_BYTES = 16
"""Bytes a parameter when all weights train: float32 weight, gradient and the two means of AdamW."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    about: str
    text: str
    is_fit: bool = True
    """Whether work can be done with it as it is."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How much a model's files hold."""

    parameters: int
    size: int
    """Bytes."""


def requirements() -> list[Requirement]:
    """What the installed package asks for, extras included; nothing where it is not installed."""
    try:
        return [Requirement(text) for text in metadata.requires("securetune") or []]
    except metadata.PackageNotFoundError:
        return []


def packages(asked: Sequence[Requirement]) -> list[Finding]:
    """The versions of this package and of those it needs, with the pip line for what is missing or too old."""
    needed = [package for package in asked if package.marker is None or package.marker.evaluate({"extra": ""})]
    findings = [_package(package) for package in needed]
    main = sorted((f for f in findings if f.about in MAIN), key=lambda finding: MAIN.index(finding.about))
    unfit = [finding for finding in findings if finding.about not in MAIN and not finding.is_fit]
    fit = len(findings) - len(main) - len(unfit)
    rest = [Finding(about="others", text=f"{fit} packages are there and new enough.")] if fit else []
    if not asked:
        rest = [
            Finding(
                about="others",
                text="Expected securetune to be installed, found its files alone: which packages it needs, they do not "
                "say. Install it: pip install . in its folder.",
                is_fit=False,
            )
        ]
    return [Finding(about="securetune", text=_version("securetune") or "not installed"), *main, *unfit, *rest]


def broken(error: Exception) -> Finding:
    """What to say where the packages are there and cannot be loaded: parts of them may belong to other versions."""
    reason = " ".join(str(error).split()).rstrip(".")
    text = f"Expected torch and transformers to load, found: {reason}. Install what it names again."
    return Finding(about="libraries", text=text, is_fit=False)


def extras(asked: Sequence[Requirement]) -> list[Finding]:
    """Which extras are there; none of them is needed."""
    return [finding for name, gives in EXTRAS.items() for finding in _extra(name, gives, asked)]


def machine(folder: Path) -> list[Finding]:
    """Python, the memory, and the room on the disk of a folder."""
    free = shutil.disk_usage(folder).free
    return [
        Finding(about="Python", text=f"{platform.python_version()} at {sys.executable}"),
        Finding(about="memory", text=_memory_text(memory_size())),
        Finding(about="disk", text=f"{in_gib(free)} free in {folder}"),
    ]


def memory_size() -> int | None:
    """Bytes of memory that this process may have at most; None where the system does not say."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        return min(whole, int(_CONTAINER_LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no container, or one without a limit, which says "max"
        return whole


def files(model: str) -> Finding:
    """Whether a model's folder, where it is one, holds it whole."""
    from securetune.models.files import check_model  # here, so that missing packages can be told

    try:
        check_model(model)
    except ModelError as error:
        return Finding(about="files", text=str(error), is_fit=False)
    return Finding(about="files", text="whole" if expanded(model).is_dir() else f"those of {model} on the Hub")


def weights(folder: Path) -> Weights | None:
    """What a model's safetensors files hold, by their headers; None where there are none."""
    from securetune.models.files import tensor_shapes  # here, so that missing packages can be told

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    return Weights(
        parameters=sum(prod(shape) for file in files for shape in tensor_shapes(file).values()),
        size=sum(file.stat().st_size for file in files),
    )


def fits(model: Weights, memory: int | None, place: str) -> Finding:
    """Whether a model has room, and what tuning takes at the least; batches come on top."""
    takes = (
        f"{model.parameters / 1e6:,.1f} million parameters, {in_gib(model.size)} of weights; tuning all weights takes "
        f"at least {in_gib(_FULL_BYTES * model.parameters)}, LoRA at least {in_gib(model.size)}"
    )
    if memory is None:
        return Finding(about="size", text=f"{takes}. How much memory there is, this system does not say.")
    if model.size >= memory:
        return Finding(
            about="size",
            text=f"Expected room for {in_gib(model.size)} of weights in {place}, found {in_gib(memory)}. Take a "
            "smaller or quantized model, a larger machine, or several devices (model.device_map: auto).",
            is_fit=False,
        )
    all_weights = "" if _FULL_BYTES * model.parameters < memory else ", too little for all weights: take LoRA"
    return Finding(about="size", text=f"{takes}. {place[0].upper()}{place[1:]} has {in_gib(memory)}{all_weights}.")


def in_gib(size: int) -> str:
    """A number of bytes, readable."""
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"


def _memory_text(memory: int | None) -> str:
    return "this system does not say" if memory is None else in_gib(memory)


def _package(asked: Requirement) -> Finding:
    wanted, version = f"{asked.name}{asked.specifier}", _version(asked.name)
    if version is not None and asked.specifier.contains(version, prereleases=True):
        return Finding(about=asked.name, text=version)
    text = f"Expected {wanted}, found {version or 'none'}. Install it: pip install '{wanted}'"
    return Finding(about=asked.name, text=text, is_fit=False)


def _extra(name: str, gives: str, asked: Sequence[Requirement]) -> Iterator[Finding]:
    for package in asked:
        if package.marker is not None and package.marker.evaluate({"extra": name}):
            wanted, version = f"{package.name}{package.specifier}", _version(package.name)
            if version is not None and package.specifier.contains(version, prereleases=True):
                yield Finding(about=f"[{name}]", text=f"{package.name} {version}: {gives}.")
            else:
                there = "not there" if version is None else f"{version} is too old"
                yield Finding(about=f"[{name}]", text=f"{there}; it {gives}: pip install '{wanted}'")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
