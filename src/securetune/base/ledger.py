"""Ledger: which artifact has a run last left, or found current, under each file name, and for which configuration?

A seal says that an artifact is as it was written. The ledger says that it is the one that belongs here: another run's,
an older one's and one that is gone are noticed before anybody reads a number of them.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from securetune.base.files import digest, write_atomic
from securetune.base.machine import writing
from securetune.errors import ArtifactError

log = logging.getLogger(__name__)

FINISH = "Finish the run with `securetune run`, which makes anew what does not belong."
"""What to do about anything in a run folder that does not belong there."""


@dataclass(frozen=True, kw_only=True)
class Noted:
    """An artifact as a run has left it, or found it current."""

    seal: str
    config: str
    """Hash of the configuration that it was made or found current for; empty where none was written."""


@dataclass(frozen=True, kw_only=True)
class Notes:
    """All that a ledger holds."""

    config: str = ""
    """Hash of the configuration in the folder."""
    artifacts: dict[str, Noted] = field(default_factory=dict)
    """By file name."""


class Ledger:
    """The ledger of one run folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.json"

    def note(self, file: str, seal: str) -> None:
        """Keep that an artifact belongs to the run as it is configured now."""

        def with_artifact(notes: Notes) -> Notes:
            return replace(notes, artifacts={**notes.artifacts, file: Noted(seal=seal, config=notes.config)})

        self._change(with_artifact)

    def configure(self, text: str) -> None:
        """Keep which configuration the run has written; what was noted for another does not count until it is again."""
        self._change(lambda notes: replace(notes, config=digest(text)))

    def read(self) -> Notes:
        """What was noted.

        Raises:
            ArtifactError: there is no ledger, or not as it was written.
        """
        if not self.path.exists():
            raise ArtifactError(f"Expected the ledger of the run at {self.path}, found none. {FINISH}")
        notes = self._stored()
        if notes is None:
            raise ArtifactError(f"Expected {self.path} as securetune wrote it, found that it was changed. {FINISH}")
        return notes

    def _stored(self) -> Notes | None:
        """What the file holds; None where there is none, or it was changed."""
        if not self.path.is_file():
            return None
        with writing(self.path):
            text = self.path.read_text("utf-8", errors="replace")
        try:
            raw = json.loads(text)
            is_intact = raw.pop("check") == digest(raw)
            notes = Notes(
                config=raw["config"], artifacts={key: Noted(**noted) for key, noted in raw["artifacts"].items()}
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        return notes if is_intact else None

    def _change(self, change: Callable[[Notes], Notes]) -> None:
        """Write changed notes; jobs that share a folder take turns."""
        with writing(self.path), FileLock(self.path.with_name(".ledger.lock")):
            before = self._stored()
            after = change(before or Notes())
            if after != before:
                if before is None and self.path.exists():
                    log.warning("%s is not as it was written: it is begun anew", self.path)
                content: dict[str, Any] = asdict(after)
                write_atomic(self.path, json.dumps(content | {"check": digest(content)}, indent=1) + "\n")
