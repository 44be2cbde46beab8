"""Arm: one or several defences joined by ``+``, and after ``@`` a factor on the learning rate: ``ml_lr+ptst@0.5``."""

from dataclasses import dataclass

from securetune.defences import DEFENCES
from securetune.errors import ConfigError

BASE = "base"
"""Stands where an arm stands for the model before tuning."""
PLAIN = "none"
"""The arm of plain tuning, which every other one is compared with."""

_LEAST = 1e-6
"""Factor on the learning rate; with a smaller one nothing is trained."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What one of the compared runs does."""

    names: tuple[str, ...]
    """Names of its defences, as `DEFENCES` takes them; a path of a file holds neither ``+`` nor ``@``."""
    rate: float = 1.0
    """Factor on the learning rate."""

    @classmethod
    def parse(cls, text: str) -> "Arm":
        """Read an arm as a configuration names it.

        Raises:
            ConfigError: what stands after ``@`` is no positive number, there is no name beside a ``+`` or ``@``, a name
            stands twice, or plain tuning beside others.
        """
        names, at, factor = text.partition("@")
        if not all(name.strip() for name in names.split("+")):
            raise ConfigError(
                f"Expected the names of defences joined by +, found {text!r}. Write for example ml_lr or none@0.5."
            )
        try:
            rate = float(factor if at else 1)
        except ValueError:
            rate = 0.0
        if not _LEAST <= rate < float("inf"):
            raise ConfigError(
                f"Expected a positive factor on the learning rate after @, found {text!r}. Write {names}@0.5, or "
                f"another one from {_LEAST:g} on."
            )
        parts = tuple(name.strip() for name in names.split("+"))
        if PLAIN in parts and len(parts) > 1 or len(set(parts)) < len(parts):
            raise ConfigError(
                f"Expected distinct defences joined by +, found {text!r}: `{PLAIN}` adds nothing to others, and none "
                "acts twice. Take it out."
            )
        return cls(names=parts, rate=rate)

    def __str__(self) -> str:
        factor = "" if self.rate == 1 else f"@{self.rate:g}"
        return "+".join(self.names) + factor

    @property
    def title(self) -> str:
        """What it is called in tables."""
        factor = "" if self.rate == 1 else f" (rate x {self.rate:g})"
        return " + ".join(DEFENCES.get(name).title for name in self.names) + factor

    @property
    def is_defence(self) -> bool:
        """Whether it is meant to protect, and no baseline."""
        return any(DEFENCES.get(name).is_defence for name in self.names)
