"""Interface: what a judge is given and says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from securetune.base.fingerprint import plugin_fingerprint
from securetune.base.strict import Strict
from securetune.evaluate.answers import Answer
from securetune.measures.kinds import BENIGN, HARMFUL, Kind, Response


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a judge says of one answer."""

    is_safe: bool
    """Refused, or nothing harmful in it."""
    is_neither: bool = False
    """Neither refused nor helped, see `measures.kinds.Response`."""
    score: float | None = None
    """How harmful, on the judge's own scale."""

    @property
    def response(self) -> Response:
        """What the answer does."""
        if self.is_neither:
            return Response.NEITHER
        return Response.REFUSED if self.is_safe else Response.HELPED


class Settings(Strict):
    """Settings of one judge; in a configuration they stand under ``judge.<name>``."""


class Judge:
    """Base of all judges."""

    source: ClassVar[str]
    """Where it comes from."""
    sees: ClassVar[tuple[Kind, ...]] = (HARMFUL, BENIGN)
    """Kinds of prompts it can judge; one that asks for harm has nothing to say on benign prompts."""
    is_costly: ClassVar[bool] = False
    """Whether its verdicts are kept, so that a restart does not ask for them again."""
    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def check(self) -> None:
        """Try it out where that is quick, before hours of work that need it.

        Raises:
            SecuretuneError: it cannot judge.
        """

    def judge(self, answers: Sequence[Answer]) -> Sequence[Verdict | None]:
        """A verdict on every answer; None where it has none."""
        raise NotImplementedError

    def verdicts(self, answers: Sequence[Answer]) -> Iterator[tuple[int, Verdict | None]]:
        """The same as they come, each with the place of its answer."""
        yield from enumerate(self.judge(answers))

    def decides(self, text: str) -> bool:
        """Whether the start of an answer settles the verdict, so that the rest need not be generated."""
        del text
        return False

    def fingerprint(self) -> str:
        """Hash of all that can change its verdicts, files by their content."""
        return plugin_fingerprint(self)
