"""Scanner: perturb every module in turn and measure the drop of every signal.

Source: "module robustness analysis", Du et al. 2024, arXiv 2410.04524, section 3.2; the form and strength of the
perturbation are ours, because the paper's are not public. Measuring each random change and its negative (antithetic
variates, Hammersley and Morton 1956) is ours too: half the difference of the two is the change's first-order effect,
which says nothing of the module, and their mean does not hold it.
"""

import functools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from transformers import PreTrainedModel

from securetune.base.artifacts import Journal
from securetune.base.progress import progress_bar
from securetune.errors import ScanError
from securetune.models.features import Features, PromptBatch
from securetune.models.topology import ModuleRef, ModuleSet
from securetune.scan.calibration import random_halves, smallest_strength
from securetune.scan.config import ScanConfig
from securetune.scan.draws import ANSWERS, PART, PARTS, PROMPTS, Draws
from securetune.scan.gradient import gradient_drops
from securetune.scan.method import AUTO, EXACT, RACE, chosen
from securetune.scan.passes import Passes, signs_of_a_draw
from securetune.scan.race import look_sizes, race_blocks, raced_drops
from securetune.scan.reliability import reliability
from securetune.scan.result import Drops, ScanResult
from securetune.scan.signals import SIGNALS
from securetune.scan.signals.base.interface import LogitSignal, PromptSignal, Signal
from securetune.scan.signals.base.measurer import Signals, drops

_USABLE: dict[str, type[Signal]] = {AUTO: Signal, EXACT: Signal, RACE: PromptSignal, "gradient": LogitSignal}
"""Scan method -> the kind of signal it can use."""


class Scanner:
    """Measures the drop for any set of modules of one model on fixed prompts."""

    def __init__(
        self,
        passes: Passes,
        signals: Signals,
        config: ScanConfig,
        *,
        malicious: Callable[[Sequence[int]], list[PromptBatch]] | None = None,
        tolerance: float,
        refused: Callable[[PreTrainedModel], float] | None = None,
    ) -> None:
        """Read `signals` off `passes`.

        Args:
            passes: the model, its prompts and the perturbation.
            signals: what is read off, on the same prompts.
            config: strength, draws, method.
            malicious: batches of some of the malicious prompts, by number; the methods race and gradient need it.
            tolerance: drop that half of the modules shall have together; a race decides about a module's share of it.
            refused: generates answers and tells the share refused; it adds the signal `ANSWERS`.
        """
        self._signal: Signal = SIGNALS.get(config.signal)
        kind = _USABLE[config.method]
        if not isinstance(self._signal, kind):
            usable = [name for name, signal in signals.plug_ins.items() if isinstance(signal, kind)]
            raise ScanError(
                f"Expected a signal of {usable} for scan.method {config.method}, found {config.signal!r}. "
                "Correct scan.signal, or use the method exact."
            )
        self._passes, self._signals, self._config = passes, signals, config
        self._malicious, self._tolerance, self._refused = malicious, tolerance, refused
        self._method, self._why = config.method, ""
        self._signs = signs_of_a_draw(passes.perturbation, self._signal)
        self.clean = self._measure(signals.clean)
        self.ranges = signals.ranges(self.clean)
        if self.ranges[config.signal] <= 0:
            raise ScanError(
                f"Expected {config.signal} to be higher on malicious than on benign prompts, found a difference of "
                f"{self.ranges[config.signal]:.3f}: the model before tuning does not refuse. Use an aligned model."
            )

    def drop(self, modules: ModuleSet, *, strength: float, draw: int) -> dict[str, float]:
        """Drop of every signal with `modules` perturbed jointly, the mean of both ways where a draw is a pair."""
        ways = [self._one_way(modules, strength, draw, sign) for sign in self._signs]
        return {name: statistics.fmean(way[name] for way in ways) for name in ways[0]}

    def _one_way(self, modules: ModuleSet, strength: float, draw: int, sign: int) -> dict[str, float]:
        with self._passes.perturbed(modules, strength=strength, draw=draw, sign=sign) as states:
            values, parts = self._measure(states), self._signals.part_drops(states, self.ranges)
        return drops(self.clean, values, self.ranges) | parts

    def _measure(self, states: Features) -> dict[str, float]:
        """All signals of the model as it is now, whose features these are."""
        answers = {ANSWERS: self._refused(self._passes.model)} if self._refused is not None else {}
        return self._signals.measure(states) | answers

    def joint_drops(self, modules: ModuleSet, *, strength: float) -> dict[str, float]:
        """Mean drop of every signal over the draws, with `modules` perturbed jointly."""
        by_draw = [self.drop(modules, strength=strength, draw=i) for i in range(self._config.draws)]
        return {
            name: statistics.fmean(drop[name] for drop in by_draw) for name in by_draw[0] if not name.startswith(PART)
        }

    def calibrate(self, sets: Sequence[ModuleSet] | None = None) -> tuple[float, dict[float, float]]:
        """Choose the strength: the smallest at which the sets lose the tolerance on average, one draw each.

        The sets are, by default, random halves of the modules. Returns the strength and the mean drop at every strength
        tried; the perturbation's last strength when none reaches the tolerance.
        """
        sample = sets or random_halves(self._passes.topology.all, self._config.seed or 0)
        mean_drop: dict[float, float] = {}
        with progress_bar() as bar:
            task = bar.add_task("Calibrate", total=None)

            def reached(strength: float) -> bool:
                sample_drops = []
                for modules in sample:
                    sample_drops.append(self.drop(modules, strength=strength, draw=0)[self._config.signal])
                    bar.advance(task)
                mean_drop[strength] = statistics.fmean(sample_drops)
                return mean_drop[strength] >= self._tolerance

            strength = smallest_strength(reached, self._passes.perturbation.strengths)
        return strength, dict(sorted(mean_drop.items()))

    def scan(self, journal: Journal) -> ScanResult:
        """Measure every module alone; what `journal` holds already is not measured again."""
        strength, calibration = self.strength(journal)
        self._settle_method(strength, journal)
        draws = self._measured(self._tasks(strength), journal)
        while self._is_short_of_draws(draws):
            for ref, more in self._measured(self._one_draw_more(strength, draws), journal).items():
                draws[ref] += more
        return ScanResult(
            method=self._method,
            why=self._why,
            perturbation=self._config.perturbation,
            signal=self._config.signal,
            is_paired=self._method != "gradient" and len(self._signs) > 1,
            strength=strength,
            calibration=dict(calibration),
            clean=self.clean,
            ranges=self.ranges,
            draws={str(ref): draws[str(ref)] for ref in self._passes.topology.all},
            target_drop=self._tolerance,
        )

    def _is_short_of_draws(self, draws: Draws) -> bool:
        """Whether the ranking is not as reliable as is wanted, and more draws can be had and may help."""
        config, count = self._config, _count(draws)
        if count >= config.max_draws or self._method == "gradient" or self._passes.perturbation.needs_tuning:
            return False
        agreement = reliability(draws, config.signal).chosen
        return count < 2 or (agreement is not None and agreement < config.reliability)

    def _one_draw_more(self, strength: float, draws: Mapping[str, list[Drops]]) -> list["_Task"]:
        """The next draw of every module; where a race stopped reading, it reads no further."""
        draw, refs = _count(draws), list(self._passes.topology.all)
        if self._method == EXACT:
            return [_Task(f"{ref}/{draw}", functools.partial(self._exact, ref, strength, draw)) for ref in refs]
        blocks = self._blocks
        sizes = look_sizes(sum(block.size for block in blocks))
        return [
            _Task(
                f"{ref}/{draw}",
                functools.partial(
                    self._raced, ref, blocks[: sizes.index(int(draws[str(ref)][0][PROMPTS])) + 1], strength, [draw],
                    decides=False,
                ),
            )
            for ref in refs
        ]  # fmt: skip

    def share(self, journal: Journal, *, process: int, processes: int) -> None:
        """Measure one process's share of the modules into its journal, which holds the strength already."""
        strength, _ = self.strength(journal)
        self._settle_method(strength, journal)
        tasks = self._tasks(strength)
        self._measured(tasks[process::processes], journal, show=process == 0)

    def strength(self, journal: Journal) -> tuple[float, list[tuple[float, float]]]:
        """The strength, configured or calibrated, and what calibration tried."""
        if self._config.strength is not None:
            return self._config.strength, []
        strength, calibration = journal.once("strength", self._calibrated)
        return strength, calibration

    def _settle_method(self, strength: float, journal: Journal) -> None:
        """Where the method is open, choose by the time that the exact scan would take.

        The journal keeps the choice, so that a killed run stays with it, on whatever machine it goes on.
        """
        if self._config.method == AUTO:
            self._method, self._why = journal.once("method", functools.partial(self._timed_choice, strength))

    def _timed_choice(self, strength: float) -> tuple[str, str]:
        topology = self._passes.topology
        refs = list(topology.all)
        middle = min(refs, key=lambda ref: abs(ref.layer - topology.layers // 2))  # passes begin at the changed layer
        start = time.perf_counter()
        self.drop(ModuleSet.of([middle]), strength=strength, draw=0)
        seconds = (time.perf_counter() - start) * len(refs) * self._config.draws
        return chosen(self._config, seconds=seconds, can_race=isinstance(self._signal, PromptSignal))

    def _calibrated(self) -> tuple[float, list[tuple[float, float]]]:
        strength, mean_drop = self.calibrate()
        return strength, list(mean_drop.items())

    def _measured(self, tasks: Sequence["_Task"], journal: Journal, *, show: bool = True) -> dict[str, list[Drops]]:
        """Results of the tasks by module."""
        by_module: dict[str, list[Drops]] = {}
        with progress_bar(disable=not show) as bar:
            for task in bar.track(tasks, description="Scan"):
                for ref, draws in journal.once(task.key, task.measure).items():
                    by_module.setdefault(ref, []).extend(draws)
        return by_module

    def _tasks(self, strength: float) -> list["_Task"]:
        refs = list(self._passes.topology.all)
        if self._method == "gradient":
            return [_Task("gradient", functools.partial(self._gradient, strength))]
        draws = range(self._config.draws)
        if self._method == RACE:
            blocks = self._blocks
            return [_Task(f"{ref}", functools.partial(self._raced, ref, blocks, strength, draws)) for ref in refs]
        return [_Task(f"{ref}/{i}", functools.partial(self._exact, ref, strength, i)) for ref in refs for i in draws]

    def _exact(self, ref: ModuleRef, strength: float, draw: int) -> dict[str, list[Drops]]:
        return {str(ref): [self.drop(ModuleSet.of([ref]), strength=strength, draw=draw)]}

    def _raced(
        self, ref: ModuleRef, blocks: Sequence[Passes], strength: float, draws: Sequence[int], *, decides: bool = True
    ) -> dict[str, list[Drops]]:
        config, modules = self._config, len(self._passes.topology.modules)
        looks = modules * (len(blocks) - 1)
        assert isinstance(self._signal, PromptSignal), "checked when the scanner was made"
        values = raced_drops(
            blocks,
            self._signals,
            self._signal,
            ModuleSet.of([ref]),
            strength=strength,
            draws=draws,
            signs=self._signs,
            signal_range=self.ranges[config.signal],
            tolerance=self._tolerance / max(modules // 2, 1) if decides else math.nan,
            level=config.race_error / max(looks, 1),
        )
        return {
            str(ref): [
                {config.signal: float(row.mean()), PROMPTS: len(row)}
                # Blocks come in random order, the same for every module, and each has read the first.
                | {f"{PART}{i}": float(row[i::PARTS].mean()) for i in range(min(PARTS, blocks[0].size))}
                for row in values
            ]
        }

    @functools.cached_property
    def _blocks(self) -> list[Passes]:
        assert self._malicious is not None, "racing needs batches of the malicious prompts"
        count = int((self._signals.labels == 1).sum())
        return race_blocks(self._passes, self._malicious, count, self._config.seed or 0)

    def _gradient(self, strength: float) -> dict[str, list[Drops]]:
        assert self._malicious is not None, "the gradient needs batches of the malicious prompts"
        batches = self._malicious(range(int((self._signals.labels == 1).sum())))
        assert isinstance(self._signal, LogitSignal), "checked when the scanner was made"
        changes = gradient_drops(self._passes, batches, self._signals, self._signal, strength)
        name = self._config.signal
        return {ref: [{name: change / self.ranges[name]}] for ref, change in changes.items()}


def _count(draws: Draws) -> int:
    return min(map(len, draws.values()))


class _Task(NamedTuple):
    """One measurement of the scan that a killed run does not repeat."""

    key: str
    measure: Callable[[], dict[str, list[Drops]]]
