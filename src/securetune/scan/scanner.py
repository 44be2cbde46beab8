"""Scanner: perturb every module in turn and measure the drop of every signal.

Source: "module robustness analysis", Du et al. 2024, arXiv 2410.04524, section 3.2; the form and strength of the
perturbation are ours, because the paper's are not public.
"""

import functools
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pydantic import BaseModel, ConfigDict, Field
from transformers import PreTrainedModel

from securetune.artifacts import Journal
from securetune.errors import ScanError
from securetune.features import PromptBatch, extract_features
from securetune.perturb import PERTURBATIONS
from securetune.perturb.apply import Perturbation, perturbed
from securetune.progress import progress_bar
from securetune.scan.draws import mean_drops
from securetune.scan.prefix import PrefixCache
from securetune.scan.signals import SIGNALS, Signals, drops
from securetune.topology import ModuleRef, ModuleSet, Topology

STRENGTHS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
TARGET_DROP = 0.1


class ScanConfig(BaseModel):
    """How modules are perturbed and what is read off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    perturbation: str = "lowrank"
    """Kind of damage: a file name of `securetune.perturb`."""
    strength: float | None = Field(default=None, gt=0)
    """Relative size of the change; by default calibrated (see `calibrate`)."""
    draws: int = Field(default=3, ge=1)
    """Independent random draws of the perturbation per module."""
    prompts: int = Field(default=100, ge=10)
    """Malicious and benign prompts each that the scan reads."""
    signal: str = "refusal_margin"
    """Signal that calibration and search follow; all signals are measured anyway."""
    batch_size: int = Field(default=64, ge=1)
    """Prompts per forward pass."""
    seed: int = 0
    """Seed of all draws."""


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """Drop of every signal for every module, as a share of the signal's range."""

    strength: float
    calibration: dict[float, float]
    """Mean drop of the sampled modules at every strength tried."""
    clean: dict[str, float]
    ranges: dict[str, float]
    draws: dict[str, list[dict[str, float]]]
    """Module -> one dict of drops per draw."""

    def mean(self, signal: str) -> dict[str, float]:
        """Mean drop of every module over its draws."""
        return mean_drops(self.draws, signal)

    def standard_error(self, signal: str) -> dict[str, float]:
        """Standard error of that mean; 0 for a single draw."""
        return {
            ref: statistics.stdev([d[signal] for d in values]) / len(values) ** 0.5 if len(values) > 1 else 0.0
            for ref, values in self.draws.items()
        }

    def ranking(self, signal: str) -> list[ModuleRef]:
        """Modules from the most robust to the most sensitive."""
        mean = self.mean(signal)
        return sorted((ModuleRef.parse(ref) for ref in mean), key=lambda ref: (mean[str(ref)], ref))

    def to_dict(self) -> dict[str, object]:
        """Plain data for an artifact."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> "ScanResult":  # type: ignore[type-arg]
        """Inverse of `to_dict`, from JSON."""
        return cls(**{**data, "calibration": {float(k): v for k, v in data["calibration"].items()}})


class Scanner:
    """Measures the drop for any set of modules of one model on fixed prompts."""

    def __init__(
        self,
        model: PreTrainedModel,
        topology: Topology,
        batches: Sequence[PromptBatch],
        signals: Signals,
        config: ScanConfig,
        *,
        cached: bool = True,
    ) -> None:
        """Perturb `model` on `batches`; `cached` skips the layers before the first perturbed one (same result)."""
        if config.signal not in SIGNALS:
            raise ScanError(f"Expected a signal of {sorted(SIGNALS)}, found {config.signal!r}. Correct scan.signal.")
        self._model, self._topology, self._batches = model, topology, batches
        self._signals, self._config = signals, config
        self._prefix = PrefixCache(model, batches) if cached else None
        self._perturbation: Perturbation = PERTURBATIONS.get(config.perturbation)
        self.clean = signals.measure(signals.clean)
        self.ranges = signals.ranges(self.clean)
        if self.ranges[config.signal] <= 0:
            raise ScanError(
                f"Expected {config.signal} to be higher on malicious than on benign prompts, found a difference of "
                f"{self.ranges[config.signal]:.3f}: the model before tuning does not refuse. Use an aligned model."
            )

    def drop(self, modules: ModuleSet, *, strength: float, draw: int) -> dict[str, float]:
        """Drop of every signal with `modules` perturbed jointly."""
        seed = self._config.seed * 1000 + draw
        around = None
        if self._prefix is not None:
            self._prefix.move_to(min((ref.layer for ref in modules), default=0))
            around = self._prefix.resumed
        with perturbed(self._model, self._topology, modules, self._perturbation, strength=strength, seed=seed):
            features = extract_features(self._model, self._batches, around=around)
        return drops(self.clean, self._signals.measure(features), self.ranges)

    def joint_drop(self, modules: ModuleSet, *, strength: float) -> float:
        """Mean drop of the configured signal over the draws, with `modules` perturbed jointly."""
        if not len(modules):
            return 0.0
        values = [self.drop(modules, strength=strength, draw=i) for i in range(self._config.draws)]
        return statistics.fmean(value[self._config.signal] for value in values)

    def calibrate(self, sets: Sequence[ModuleSet] | None = None) -> tuple[float, dict[float, float]]:
        """Choose the strength: the smallest of `STRENGTHS` at which the sampled sets lose `TARGET_DROP` on average.

        The sample is, by default, the first, middle and last module of every role alone; one draw each. Below that
        the drops drown in noise; far above it every module looks sensitive. Returns the strength and the mean drop at
        every strength tried; the last strength when none reaches the target.
        """
        sample = sets or [ModuleSet.of([ref]) for ref in self._sample()]
        tried: dict[float, float] = {}
        with progress_bar() as bar:
            task = bar.add_task("Calibrate (at most)", total=len(STRENGTHS) * len(sample))
            for strength in STRENGTHS:
                found = []
                for modules in sample:
                    found.append(self.drop(modules, strength=strength, draw=0)[self._config.signal])
                    bar.advance(task)
                tried[strength] = statistics.fmean(found)
                if tried[strength] >= TARGET_DROP:
                    break
        return strength, tried

    def _sample(self) -> ModuleSet:
        by_role = ([ref for ref in self._topology.all if ref.role == role] for role in self._topology.roles)
        return ModuleSet.of(refs[i] for refs in by_role for i in (0, len(refs) // 2, -1))

    def scan(self, journal: Journal) -> ScanResult:
        """Measure every module alone; what `journal` holds already is not measured again."""
        if self._config.strength is None:
            strength, tried = journal.once("strength", self._calibration)
        else:
            strength, tried = self._config.strength, []
        found: dict[str, list[dict[str, float]]] = {str(ref): [] for ref in self._topology.all}
        todo = [(ref, draw) for ref in self._topology.all for draw in range(self._config.draws)]
        with progress_bar() as bar:
            for ref, draw in bar.track(todo, description="Scan"):
                measure = functools.partial(self.drop, ModuleSet.of([ref]), strength=strength, draw=draw)
                found[str(ref)].append(journal.once(f"{ref}/{draw}", measure))
        return ScanResult(strength=strength, calibration=dict(tried), clean=self.clean, ranges=self.ranges, draws=found)

    def _calibration(self) -> tuple[float, list[tuple[float, float]]]:
        strength, tried = self.calibrate()
        return strength, list(tried.items())
