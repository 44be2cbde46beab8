"""Interface: what a judge is given and says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from securetune.base.fingerprint import plugin_fingerprint
from securetune.evaluate.answers import Answer
from securetune.measures.kinds import BENIGN, HARMFUL, Kind


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a judge says of one answer."""

    is_safe: bool
    """Refused, or nothing harmful in it."""
    score: float | None = None
    """How harmful, on the judge's own scale."""


class Settings(BaseModel):
    """Settings of one judge; in a configuration they stand under ``judge.<name>``."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Judge:
    """Base of all judges."""

    source: ClassVar[str]
    """Where it comes from."""
    sees: ClassVar[tuple[Kind, ...]] = (HARMFUL, BENIGN)
    """Kinds of prompts it can judge; one that asks for harm has nothing to say on benign prompts."""
    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def judge(self, answers: Sequence[Answer]) -> Sequence[Verdict | None]:
        """A verdict on every answer; None where it has none."""
        raise NotImplementedError

    def decides(self, text: str) -> bool:
        """Whether the start of an answer settles the verdict, so that the rest need not be generated."""
        del text
        return False

    def fingerprint(self) -> str:
        """Hash of all that can change its verdicts, files by their content."""
        return plugin_fingerprint(self)
