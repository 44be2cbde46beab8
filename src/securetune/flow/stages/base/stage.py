"""Stage: one verb of the flow, with everything that makes its result current or not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from securetune.base.artifacts import Artifact, Product
from securetune.flow.made import Made
from securetune.flow.session import Session

Inputs = Mapping[str, str]
"""Fingerprints of all that a result depends on, by name."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One result that a stage is asked for."""

    session: Session
    made: Made
    """What the stages before it have left."""
    arm: str | None = None
    """Whose result, of a stage with one per arm."""
    inputs: Inputs = field(default_factory=dict)
    """What `depends` has said, when it comes to computing."""


def once(session: Session) -> list[str | None]:
    """The arms of a stage that has one result for all."""
    del session
    return [None]


def seed_of_the_run(session: Session) -> int:
    """The seed of most stages."""
    return session.config.seed


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage; its name is its file's."""

    version: int
    """Counts up when the same inputs would give another result, or one of another form."""
    depends: Callable[[Work], Inputs | None]
    """All that the result depends on; None where this arm has no such result."""
    compute: Callable[[Work], Product]
    arms: Callable[[Session], Sequence[str | None]] = once
    """Whose results there are."""
    seed: Callable[[Session], int] = seed_of_the_run
    share: Callable[[Work, int, int], None] | None = None
    """Does one process's share (its number, of how many) before `compute`; None where the work cannot be shared."""
    show: Callable[[Artifact], None] | None = None
    """Tells the user in the terminal what was found; None where the report is soon enough."""
