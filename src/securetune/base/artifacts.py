"""Artifacts: what did a stage leave in the run folder, and may it be used again?

An artifact is ``NN-stage[-variant].json`` with a header (schema version, input hashes, package versions, seed) and
data, plus companion files or folders named in the header with their hashes. Everything is written to a temporary
name first and renamed, the header last: a killed run leaves either the whole artifact or nothing that counts.
"""

import json
import logging
import platform
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from securetune.base.files import PARTIAL
from securetune.base.files import copy_atomic as copy_atomic
from securetune.base.files import digest as digest
from securetune.base.files import digest_path as digest_path
from securetune.base.files import write_atomic as write_atomic
from securetune.base.ledger import Ledger
from securetune.base.machine import writing
from securetune.base.places import expanded
from securetune.errors import ArtifactError, MachineError

log = logging.getLogger(__name__)

STAGES = ("preflight", "topology", "features", "probe", "scan", "search", "plan", "train", "evaluate", "report")
"""The stages of a run in their order: names of files in `securetune.flow.stages`, and parts of file names here."""
ANALYSIS = ("probe", "scan", "search")
"""The stages that only plans from a scan need."""
CONFIG = "config.yaml"
"""What a run's folder calls its configuration."""
_UNFIT = re.compile(r"[^\w.+@%=-]+")
"""What no file name has."""
_PACKAGES = ("securetune", "torch", "transformers", "peft", "trl", "datasets", "scikit-learn", "numpy")


class Journal:
    """Finished measurements of a long stage, one JSON line each, so that a killed run repeats none of them.

    Every line ends with a hash of itself and of the journal's name: one that was cut short, changed or taken from
    another journal does not count, and is measured again.
    """

    def __init__(self, path: Path, others: Iterable[Path] = (), *, name: str | None = None) -> None:
        """Go on with `path`; what other processes keep in `others` counts as done too, if its `name` is the same."""
        self._path, self._name = path, name or path.name
        self._done: dict[str, Any] = {}
        with writing(path):
            texts = [file.read_text("utf-8", errors="replace") for file in (path, *others) if file.exists()]
        lines = dict.fromkeys("\n".join(texts).split("\n"))
        whole = "".join(f"{line}\n" for line in lines if self._take(line))
        if whole != (texts[0] if path.exists() else ""):
            write_atomic(path, whole)

    def _line(self, key: str | list[str], value: Any) -> str:
        return json.dumps([key, value, digest([self._name, key, value])]) + "\n"

    def _take(self, line: str) -> bool:
        """Count a line, if it is as it was written; whether it is."""
        try:
            key, value, check = json.loads(line)
            is_intact = bool(check == digest([self._name, key, value]))
        except (ValueError, TypeError, RecursionError):
            is_intact = False
        if is_intact:
            self._done |= zip(key, value, strict=True) if isinstance(key, list) else [(key, value)]
        elif line:
            log.warning("A line of %s is not as it was written: what it held is measured again", self._path)
        return is_intact

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """The journalled value of `key`, or compute and keep it; JSON values only."""
        if key not in self._done:
            self.keep(key, compute())
        return self._done[key]

    def get(self, key: str) -> Any:
        """The journalled value of `key`, or None."""
        return self._done.get(key)

    def keep(self, key: str, value: Any) -> None:
        """Journal a value; JSON values only."""
        self._done[key] = self._append(key, value)

    def keep_together(self, values: Mapping[str, Any]) -> None:
        """Journal values that were computed together: a kill leaves all of them or none; JSON values only."""
        self._done |= zip(values, self._append(list(values), list(values.values())), strict=True)

    def _append(self, key: str | list[str], value: Any) -> Any:
        """Write a line; the value as it will be read from it."""
        value = json.loads(json.dumps(value))
        with writing(self._path), self._path.open("a", encoding="utf-8") as stream:
            stream.write(self._line(key, value))
        return value


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What one stage produced."""

    stage: str
    variant: str | None
    inputs: dict[str, str]
    """Hash of everything the stage depended on, by name."""
    data: dict[str, Any]
    """The result itself, JSON values only."""
    files: dict[str, str] = field(default_factory=dict)
    """Companion files or folders in the run folder, with their hashes."""
    seed: int = 0
    seconds: float = 0.0
    cost: dict[str, Any] = field(default_factory=dict)
    """What making it took, by its own measure; no part of the result."""
    created: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = 0
    """Version of its form, as the stage counts it."""
    seal: str = ""
    """Hash of everything else, so that a change by hand is noticed."""

    @property
    def is_sealed(self) -> bool:
        """Whether it is as it was written."""
        return self.seal == _seal(self)

    @property
    def title(self) -> str:
        """Its stage and its arm, as a reader calls it."""
        return f"{self.stage} {self.variant or ''}".strip()

    @property
    def digest(self) -> str:
        """Hash of the result; equal results have equal hashes whenever they were made."""
        return digest({"data": self.data, "files": self.files})


def sealed(artifact: Artifact) -> Artifact:
    """The artifact with the hash that vouches for it."""
    return replace(artifact, seal=_seal(artifact))


def _seal(artifact: Artifact) -> str:
    return digest({name: value for name, value in vars(artifact).items() if name != "seal"})


@dataclass(frozen=True, kw_only=True)
class Product:
    """What a stage has computed."""

    data: Mapping[str, Any]
    """The result, JSON values only."""
    files: Sequence[Path] = ()
    """Companion files and folders it has written inside the run folder."""
    cost: Mapping[str, Any] = field(default_factory=dict)
    """What it measured about its own time and memory."""


_MODELS = ("config.json", "adapter_config.json")
"""What lies in the folder of a model, or of an adapter."""


class RunFolder:
    """A folder of artifacts, locked while in use."""

    def __init__(
        self, path: str | Path, announce: Callable[[Artifact, bool], None] | None = None, *, locks: bool = True
    ) -> None:
        """Open or make the folder; of several processes that share the work, only one `locks` it."""
        self.path, self._locks = expanded(path), locks
        self._announce = announce or (lambda artifact, stored: None)
        try:
            with writing(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
        except MachineError as error:
            if isinstance(error.__cause__, FileExistsError | NotADirectoryError):
                raise ArtifactError(f"Expected a folder at {path}, found a file. Choose another output.") from error
            raise
        if taken := [name for name in _MODELS if (self.path / name).exists()]:
            raise ArtifactError(
                f"Expected a folder for artifacts at {path}, found a model's, with {taken[0]}: it would not be the "
                "same model any more. Choose another output."
            )
        self._lock = FileLock(self.path / ".lock")
        self.ledger = Ledger(self.path)

    def __enter__(self) -> "RunFolder":
        if not self._locks:
            return self
        try:
            with writing(self.path):
                self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ArtifactError(
                f"Another securetune process is working in {self.path}. Wait for it or choose another output."
            ) from error
        try:
            self._sweep()
        except BaseException:
            self._lock.release()
            raise
        return self

    def _sweep(self) -> None:
        """Remove what a kill has left under temporary names."""
        with writing(self.path):
            for left in self.path.rglob(f".*{PARTIAL}"):
                if left.is_file():
                    left.unlink(missing_ok=True)

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def file(self, stage: str, variant: str | None = None, suffix: str = ".json") -> Path:
        """Path of an artifact or of its companion, see `artifact_name`."""
        return self.path / artifact_name(stage, variant, suffix)

    def configure(self, text: str) -> None:
        """Write the run's configuration; what was made for another one counts again once it was found current."""
        write_atomic(self.path / CONFIG, text)
        self.ledger.configure(text)

    def read(self, stage: str, variant: str | None = None) -> Artifact | None:
        """The stored artifact, or None where there is none.

        Raises:
            ArtifactError: the file is damaged or was changed, or it is another artifact's.
        """
        path = self.file(stage, variant)
        if not path.exists():
            return None
        artifact = self._parsed(path)
        if not artifact.is_sealed:
            change = "that it was changed" if artifact.seal else "no seal: it was changed, or an old version wrote it"
            raise ArtifactError(
                f"Expected {path} as securetune wrote it, found {change}. Put the original back, or delete the file "
                "to redo it."
            )
        if artifact.stage != stage:
            raise ArtifactError(
                f"Expected {stage} in {path}, found {artifact.stage}. Put the original back, or delete the file to "
                "redo it."
            )
        if artifact.variant != variant:
            raise ArtifactError(
                f"Expected {stage} {variant} in {path}, found {artifact.variant}. If both have this file name, give "
                "them outputs of their own; if the file was moved here, delete it to redo it."
            )
        return artifact

    def _parsed(self, path: Path) -> Artifact:
        """The artifact in a file, whatever it is."""
        from securetune.base.typed import from_json  # here, so that `--help` stays quick

        if not path.is_file() and not path.is_dir():  # a pipe would be waited for
            raise ArtifactError(
                f"Expected an artifact in {path}, found a device or a pipe. Move it away to have it made."
            )
        try:
            with writing(path):
                text = path.read_text(encoding="utf-8")
            raw = json.loads(text)
        except (ValueError, RecursionError, MachineError) as error:
            raise ArtifactError(
                f"Expected an artifact in {path}, found {error}. Delete the file to redo it."
            ) from error
        artifact = from_json(Artifact, raw, str(path))
        if unknown := sorted(raw.keys() - Artifact.__dataclass_fields__.keys()):
            raise ArtifactError(
                f"Expected an artifact in {path}, found the unknown field {unknown[0]!r}. Delete the file to redo it."
            )
        outside = [name for name in artifact.files if Path(name).is_absolute() or ".." in Path(name).parts]
        if outside:
            raise ArtifactError(
                f"Expected companions of {path} beside it, found a file outside of the run: {outside[0]!r}. Somebody "
                "changed it: delete it to have it made again."
            )
        return artifact

    def _reusable(self, stage: str, variant: str | None) -> Artifact | None:
        """The stored artifact; None as well where a version wrote it that knew no seals."""
        path = self.file(stage, variant)
        is_old = path.is_file() and not self._parsed(path).seal
        return None if is_old else self.read(stage, variant)

    def needed(self, stage: str, variant: str | None = None) -> Artifact:
        """The stored artifact.

        Raises:
            ArtifactError: there is none, or see `read`.
        """
        found = self.read(stage, variant)
        if found is None:
            raise ArtifactError(
                f"Expected the run in {self.path} to have done {stage} {variant or ''}, found it has done "
                f"{self.variants(stage)}, and no {self.file(stage, variant).name}. "
                "Finish it first with `securetune run`, or choose one of them."
            )
        return found

    def variants(self, stage: str) -> list[str]:
        """Variants of a stage that are stored, sorted."""
        paths = self.path.glob(f"{self.file(stage, suffix='').name}-*.json")
        stored = (self._parsed(path) for path in paths if ".answers" not in path.name)
        return sorted(artifact.variant for artifact in stored if isinstance(artifact.variant, str))

    def intact(self, artifact: Artifact) -> bool:
        """Whether the companions of an artifact are as it left them."""
        return all(
            (self.path / name).exists() and digest_path(self.path / name) == value
            for name, value in artifact.files.items()
        )

    def is_current(self, artifact: Artifact | None, inputs: Mapping[str, str], version: int) -> bool:
        """Whether the stored artifact was made from exactly these inputs and its companions are intact."""
        return (
            artifact is not None
            and artifact.schema == version
            and artifact.inputs == dict(inputs)
            and self.intact(artifact)
        )

    def produce(
        self,
        stage: str,
        inputs: Mapping[str, str],
        compute: Callable[[], Product],
        *,
        version: int = 1,
        variant: str | None = None,
        seed: int = 0,
    ) -> Artifact:
        """Return the current artifact, or compute and store it.

        Of several processes that want the same one, the first computes it and the others wait.

        Raises:
            ArtifactError: a newer version of securetune has made the stored one.
        """
        path = self.file(stage, variant)
        with writing(path), FileLock(self.path / f".{path.stem}.lock"):
            stored = self._reusable(stage, variant)
            if stored is not None and stored.schema > version:
                raise ArtifactError(
                    f"Expected version {version} or older of {stage} in {self.path}, found {stored.schema}. Update "
                    "securetune, or choose another output."
                )
            if stored is not None and self.is_current(stored, inputs, version):
                self.ledger.note(path.name, stored.seal)
                self._announce(stored, True)
                return stored
            return self._computed(stage, inputs, compute, version=version, variant=variant, seed=seed)

    def _computed(
        self,
        stage: str,
        inputs: Mapping[str, str],
        compute: Callable[[], Product],
        *,
        version: int,
        variant: str | None,
        seed: int,
    ) -> Artifact:
        start = time.monotonic()
        product = compute()
        artifact = Artifact(
            stage=stage,
            variant=variant,
            inputs=dict(inputs),
            data=json.loads(json.dumps(product.data)),
            files={path.relative_to(self.path).as_posix(): digest_path(path) for path in product.files},
            seed=seed,
            cost=json.loads(json.dumps(product.cost)),
            seconds=round(time.monotonic() - start, 2),
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            versions=installed_versions(),
            schema=version,
        )
        artifact = sealed(artifact)
        path = self.file(stage, variant)
        write_atomic(path, json.dumps(asdict(artifact), indent=1) + "\n")
        self.ledger.note(path.name, artifact.seal)
        self._announce(artifact, False)
        return artifact


def artifact_name(stage: str, variant: str | None = None, suffix: str = ".json") -> str:
    """File of an artifact or of its companion: ``00-preflight.json``, ``04-scan.json``, ``07-train-swat``."""
    number = STAGES.index(stage)
    part = f"-{_UNFIT.sub('-', variant)}" if variant else ""
    return f"{number:02d}-{stage}{part}{suffix}"


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
