"""Artifacts: what did a stage leave in the run folder, and may it be used again?

An artifact is ``NN-stage[-variant].json`` with a header (schema version, input hashes, package versions, seed) and
data, plus companion files or folders named in the header with their hashes. Everything is written to a temporary
name first and renamed, the header last: a killed run leaves either the whole artifact or nothing that counts.
"""

import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from securetune.errors import ArtifactError

STAGES = ("topology", "features", "probe", "scan", "search", "plan", "train", "evaluate", "report")
"""The stages of a run in their order: names of files in `securetune.flow.stages`, and parts of file names here."""
_UNFIT = re.compile(r"[^\w.+@%=-]+")
"""What no file name has."""
_PACKAGES = ("securetune", "torch", "transformers", "peft", "trl", "datasets", "scikit-learn", "numpy")


def digest(value: object) -> str:
    """Hash of any JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_path(path: Path) -> str:
    """Hash of a file's bytes, or of all files below a folder with their names."""
    total = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        total.update(file.relative_to(path).as_posix().encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()[:16]


def write_atomic(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new, never half."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


class Journal:
    """Finished measurements of a long stage, one JSON line each, so that a killed run repeats none of them."""

    def __init__(self, path: Path, others: Iterable[Path] = ()) -> None:
        """Go on with `path`; what other processes keep in `others` counts as done too."""
        self._path = path
        self._done: dict[str, Any] = {}
        lines = [line for file in (path, *others) if file.exists() for line in file.read_text("utf-8").split("\n")]
        for line in lines:
            try:
                key, value = json.loads(line)
            except ValueError:
                continue  # the last line, cut short by a kill
            self._done[key] = value
        whole = "".join(json.dumps(item) + "\n" for item in self._done.items())
        if whole != (path.read_text("utf-8") if path.exists() else ""):
            write_atomic(path, whole)

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
        text = json.dumps([key, value])
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")
        self._done[key] = json.loads(text)[1]


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

    @property
    def digest(self) -> str:
        """Hash of the result; equal results have equal hashes whenever they were made."""
        return digest({"data": self.data, "files": self.files})


@dataclass(frozen=True, kw_only=True)
class Product:
    """What a stage has computed."""

    data: Mapping[str, Any]
    """The result, JSON values only."""
    files: Sequence[Path] = ()
    """Companion files and folders it has written inside the run folder."""
    cost: Mapping[str, Any] = field(default_factory=dict)
    """What it measured about its own time and memory."""


class RunFolder:
    """A folder of artifacts, locked while in use."""

    def __init__(
        self, path: str | Path, announce: Callable[[Artifact, bool], None] | None = None, *, locks: bool = True
    ) -> None:
        """Open or make the folder; of several processes that share the work, only one `locks` it."""
        self.path, self._locks = Path(path), locks
        self._announce = announce or (lambda artifact, stored: None)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ArtifactError(f"Expected a folder at {path}, found a file. Choose another output.") from error
        self._lock = FileLock(self.path / ".lock")

    def __enter__(self) -> "RunFolder":
        if not self._locks:
            return self
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ArtifactError(
                f"Another securetune process is working in {self.path}. Wait for it or choose another output."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def file(self, stage: str, variant: str | None = None, suffix: str = ".json") -> Path:
        """Path of an artifact or of its companion: ``04-scan.json``, ``07-train-swat``."""
        number = STAGES.index(stage) + 1
        part = f"-{_UNFIT.sub('-', variant)}" if variant else ""
        return self.path / f"{number:02d}-{stage}{part}{suffix}"

    def read(self, stage: str, variant: str | None = None) -> Artifact | None:
        """The stored artifact, or None where there is none.

        Raises:
            ArtifactError: the file is damaged, or of another variant.
        """
        path = self.file(stage, variant)
        if not path.exists():
            return None
        artifact = _stored(path)
        if artifact.variant != variant:
            raise ArtifactError(
                f"Expected {stage} {variant} in {path}, found {artifact.variant}: both have this file name. Give "
                "them outputs of their own."
            )
        return artifact

    def needed(self, stage: str, variant: str | None = None) -> Artifact:
        """The stored artifact.

        Raises:
            ArtifactError: there is none, or see `read`.
        """
        found = self.read(stage, variant)
        if found is None:
            raise ArtifactError(
                f"Expected the run in {self.path} to have done {stage} {variant or ''}, found it has done "
                f"{self.variants(stage)}. "
                "Finish it first with `securetune run`, or choose one of them."
            )
        return found

    def variants(self, stage: str) -> list[str]:
        """Variants of a stage that are stored, sorted."""
        paths = self.path.glob(f"{self.file(stage, suffix='').name}-*.json")
        return sorted(_stored(path).variant or "" for path in paths if ".answers" not in path.name)

    def is_current(self, artifact: Artifact | None, inputs: Mapping[str, str], version: int) -> bool:
        """Whether the stored artifact was made from exactly these inputs and its companions are intact."""
        return (
            artifact is not None
            and artifact.schema == version
            and artifact.inputs == dict(inputs)
            and all(
                (self.path / name).exists() and digest_path(self.path / name) == value
                for name, value in artifact.files.items()
            )
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
        with FileLock(self.path / f".{self.file(stage, variant).stem}.lock"):
            stored = self.read(stage, variant)
            if stored is not None and stored.schema > version:
                raise ArtifactError(
                    f"Expected version {version} or older of {stage} in {self.path}, found {stored.schema}. Update "
                    "securetune, or choose another output."
                )
            if stored is not None and self.is_current(stored, inputs, version):
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
            cost=dict(product.cost),
            seconds=round(time.monotonic() - start, 2),
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            versions=installed_versions(),
            schema=version,
        )
        write_atomic(self.file(stage, variant), json.dumps(asdict(artifact), indent=1) + "\n")
        self._announce(artifact, False)
        return artifact


def _stored(path: Path) -> Artifact:
    """The artifact in a file.

    Raises:
        ArtifactError: it is damaged, or names companions outside of its folder.
    """
    from securetune.base.typed import from_json  # here, so that `--help` stays quick

    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"Expected an artifact in {path}, found {error}. Delete the file to redo it.") from error
    artifact = from_json(Artifact, raw, str(path))
    outside = [name for name in artifact.files if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise ArtifactError(
            f"Expected companions of {path} beside it, found a file outside of the run: {outside[0]!r}. Somebody "
            "changed it: delete it to have it made again."
        )
    return artifact


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
