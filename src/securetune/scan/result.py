"""Result: what a scan found, as it is stored and read again; no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from securetune.models.topology import ModuleRef
from securetune.scan.draws import mean_drops

Drops = dict[str, float]
"""Signal -> drop, of one draw."""


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """Drop of every signal for every module, as a share of the signal's range."""

    method: str
    """``exact``, ``race`` or ``gradient``: what was done."""
    perturbation: str
    signal: str
    """The one that the scan followed."""
    is_paired: bool
    """Whether every draw is the mean of a change and its negative."""
    strength: float
    calibration: dict[float, float]
    """Mean drop of random halves of the modules at every strength tried; empty where the strength was given."""
    clean: dict[str, float]
    ranges: dict[str, float]
    draws: dict[str, list[Drops]]
    """Module -> one dict of drops per draw."""
    target_drop: float
    """Mean drop of a half of the modules that calibration aimed at."""
    why: str = ""
    """Where the configuration left the method open, a sentence on the choice."""

    def mean(self, signal: str) -> dict[str, float]:
        """Mean drop of every module over its draws."""
        return mean_drops(self.draws, signal)

    def ranking(self, signal: str) -> list[ModuleRef]:
        """Modules from the most robust to the most sensitive."""
        mean = self.mean(signal)
        return sorted((ModuleRef.parse(ref) for ref in mean), key=lambda ref: (mean[str(ref)], ref))

    def to_dict(self) -> dict[str, object]:
        """Plain data for an artifact."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ScanResult":
        """Inverse of `to_dict`, from JSON."""
        return cls(**{**data, "calibration": {float(k): v for k, v in data["calibration"].items()}})
