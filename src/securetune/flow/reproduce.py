"""Reproduce: does a run, repeated from its folder, give the same results, and if not, what is different?"""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securetune.base.artifacts import CONFIG, STAGES, Artifact, RunFolder, digest_path
from securetune.base.names import output_folder
from securetune.config import RunConfig, parse_config, read_yaml
from securetune.errors import ArtifactError
from securetune.report.intact import check_config

_ABSENT = "nothing"
_UNCOMPARED = {"scan": ("why",)}
"""Fields of a stage's artifact that tell times: why the scan took its method."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One artifact that came out differently."""

    artifact: str
    inputs: list[str]
    """Names of what it was made from that is no longer the same."""
    count: int
    """How many values and files differ."""
    where: str
    """The first of them."""
    before: str
    after: str

    @property
    def sentence(self) -> str:
        """What differs, for a reader."""
        because = f" Made from another {', '.join(self.inputs)}." if self.inputs else ""
        return (
            f"{self.artifact}: {self.count} differences, the first at {self.where}: {self.before} before, "
            f"{self.after} now.{because}"
        )


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A run beside its repetition."""

    folder: Path
    """Folder of the repetition."""
    compared: list[str]
    """Artifacts of both, in their order."""
    differences: list[Difference]
    versions: dict[str, tuple[str, str]]
    """Packages of another version: before and now."""


def reproduce(
    original: str | Path, output: str | Path, *, announce: Callable[[Artifact, bool], None] | None = None
) -> Reproduction:
    """Repeat a run from its folder, in a folder of its own, as far as it had come, and compare every artifact.

    The report is drawn again but not compared: it holds what the other artifacts hold, and times.

    Args:
        original: folder of the run.
        output: folder of the repetition; what is there already is gone on with.
        announce: as in `run`.

    Raises:
        ArtifactError: `original` is no run's folder, its configuration was changed, or `output` is the same one.
        ConfigError: `output` is empty.
    """
    original, output = Path(original), output_folder(output)
    config, before = check_run(original, output), _stored(original)
    from securetune.flow.pipeline import run  # here, so that a mistake is told without loading torch

    run(_with_method(config, before), until=before[-1].stage, announce=announce)
    now = {(artifact.stage, artifact.variant): artifact for artifact in _stored(output)}
    pairs = [(a, now[a.stage, a.variant]) for a in before if a.stage != "report" and (a.stage, a.variant) in now]
    differences = [_difference(*pair, original, output) for pair in pairs]
    return Reproduction(
        folder=output,
        compared=[artifact.title for artifact, _ in pairs],
        differences=[difference for difference in differences if difference is not None],
        versions={
            name: (version, new.versions.get(name, _ABSENT))
            for old, new in pairs
            for name, version in old.versions.items()
            if new.versions.get(name) != version
        },
    )


def check_run(original: Path, output: Path) -> RunConfig:
    """How a run is repeated in another folder.

    Raises:
        ArtifactError: `original` is no run's folder, its configuration was changed, or `output` is the same one.
        ConfigError: its configuration cannot be read.
    """
    path = original / CONFIG
    if not os.path.isfile(path) or not _stored(original):
        raise ArtifactError(f"Expected the folder of a run at {original}, found none of its results. Check the path.")
    if os.path.realpath(output) == os.path.realpath(original):
        raise ArtifactError(f"Expected another folder than the run's own, found {output}. Choose another output.")
    check_config(RunFolder(original))
    return parse_config(read_yaml(path), str(path)).model_copy(update={"output": str(output)})


def _with_method(config: RunConfig, before: list[Artifact]) -> RunConfig:
    """With the scan's method as it was: where that is open, another machine may choose another."""
    found = next((artifact.data["method"] for artifact in before if artifact.stage == "scan"), config.scan.method)
    return config.model_copy(update={"scan": config.scan.model_copy(update={"method": found})})


def _stored(folder: Path) -> list[Artifact]:
    """Every artifact of a run, in the order of the stages."""
    run_folder = RunFolder(folder)
    names = [(stage, variant) for stage in STAGES for variant in (None, *run_folder.variants(stage))]
    return [artifact for name in names if (artifact := run_folder.read(*name)) is not None]


def _difference(before: Artifact, now: Artifact, original: Path, output: Path) -> Difference | None:
    different = [*_values(_compared(before), _compared(now)), *_files(before, now, original, output)]
    if not different:
        return None
    (where, old, new), *_ = different
    return Difference(
        artifact=before.title,
        inputs=sorted(name for name, value in before.inputs.items() if now.inputs.get(name) != value),
        count=len(different),
        where=where,
        before=old,
        after=new,
    )


def _compared(artifact: Artifact) -> dict[str, Any]:
    left_out = _UNCOMPARED.get(artifact.stage, ())
    return {name: value for name, value in artifact.data.items() if name not in left_out}


def _values(before: Any, now: Any, where: str = "") -> Iterator[tuple[str, str, str]]:
    """Every place at which two JSON values differ, with both."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _values(before.get(key, _ABSENT), now.get(key, _ABSENT), f"{where}.{key}".lstrip("."))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, pair in enumerate(zip(before, now, strict=True)):
            yield from _values(*pair, f"{where}[{i}]")
    elif before != now and not (_is_nan(before) and _is_nan(now)):
        yield where, _short(before), _short(now)


def _files(before: Artifact, now: Artifact, original: Path, output: Path) -> Iterator[tuple[str, str, str]]:
    """Every file of numbers or answers that differs: what beside them names paths or times does not count."""
    for name in before.files:
        below = (original / name).rglob("*") if (original / name).is_dir() else [original / name]
        for path in sorted(path.relative_to(original) for path in below if path.suffix in (".safetensors", ".json")):
            both = [folder / path for folder in (original, output)]
            old, new = (digest_path(file) if file.is_file() else _ABSENT for file in both)
            if old != new:
                yield str(path), old, new


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
