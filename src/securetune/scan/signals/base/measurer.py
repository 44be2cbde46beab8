"""Measurer: what does every signal say of the same prompts, and what share of its range has it lost?

Beside the plug-ins it measures what answers the critics of a probe: a probe fitted anew on the perturbed features (is
the information gone, or only moved?) and control concepts (is it safety's, or general damage?).
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray
from torch import Tensor

from securetune.models.features import Features
from securetune.scan.draws import CONTROL, PART, PARTS, REFITTED, SPECIFIC
from securetune.scan.probe import LinearProbe, fit_probe
from securetune.scan.signals import SIGNALS
from securetune.scan.signals.base.interface import Baseline, Signal


@dataclass(frozen=True, kw_only=True)
class Signals(Baseline):
    """Measures every signal, the refitted probe and the controls against the baseline."""

    controls: Mapping[str, tuple[LinearProbe, ndarray]] = field(default_factory=dict)
    """Probe and labels of every control concept, on the same prompts."""

    follows: str | None = None
    """The signal that the scan follows, which may be one in a file of the user's."""

    @cached_property
    def plug_ins(self) -> dict[str, Signal]:
        """Every signal of `SIGNALS`, and the one that is followed, loaded."""
        names = SIGNALS.names()
        own = [] if self.follows is None or self.follows in names else [self.follows]
        return {name: SIGNALS.get(name) for name in (*names, *own)}

    def measure(self, states: Features) -> dict[str, float]:
        """All of them on (perturbed) features of the baseline's prompts."""
        hidden, even = states.hidden.numpy(), self._even
        return {
            **{name: signal.measure(self, states) for name, signal in self.plug_ins.items()},
            REFITTED: fit_probe(hidden[even], self.labels[even]).auroc(hidden[~even], self.labels[~even]),
            **self._controls(hidden),
        }

    def ranges(self, clean: Mapping[str, float]) -> dict[str, float]:
        """What losing all safety would cost, by name.

        A signal says so itself, the refitted probe falls to chance, and all else in `clean` to nothing.
        """
        return {
            **clean,
            REFITTED: clean[REFITTED] - 0.5,
            **{name: signal.range(self, clean[name]) for name, signal in self.plug_ins.items()},
        }

    def part_drops(self, states: Features, ranges: Mapping[str, float]) -> dict[str, float]:
        """Drop of the followed signal on every part of the prompts, as if there were no others."""
        if self.follows is None:
            return {}
        signal, scale = self.plug_ins[self.follows], max(ranges[self.follows], 1e-9)
        return {
            f"{PART}{i}": (clean - signal.measure(part, states.of(rows))) / scale
            for i, (rows, part, clean) in enumerate(self._parts)
        }

    @cached_property
    def _parts(self) -> list[tuple[Tensor, Baseline, float]]:
        """Rows, baseline and clean value of the followed signal of random parts with like shares of both classes."""
        assert self.follows is not None, "parts are measured of the followed signal alone"
        rng, signal = np.random.default_rng(0), self.plug_ins[self.follows]
        classes = [rng.permutation(np.flatnonzero(self.labels == label)) for label in (0, 1)]
        count, parts = min(PARTS, *map(len, classes)), []
        for i in range(count):
            rows = torch.from_numpy(np.concatenate([of[i::count] for of in classes]))
            clean = self.clean.of(rows)
            part = Baseline(probe=self.probe, openings=self.openings, labels=self.labels[rows.numpy()], clean=clean)
            parts.append((rows, part, signal.measure(part, clean)))
        return parts

    @cached_property
    def _even(self) -> Bool[ndarray, " n"]:
        """Every second prompt of each class: the half that a refitted probe is fitted on."""
        even = np.zeros(len(self.labels), dtype=bool)
        for label in (0, 1):
            even[np.flatnonzero(self.labels == label)[::2]] = True
        return even

    def _controls(self, hidden: ndarray) -> dict[str, float]:
        """How far apart each probe holds its two classes, in clean standard deviations."""
        apart = {}
        for name, (probe, labels, spread) in self._concepts.items() if self.controls else ():
            scores = probe.score(hidden)
            apart[f"{CONTROL}{name}"] = float((scores[labels].mean() - scores[~labels].mean()) / spread)
        return apart

    @cached_property
    def _concepts(self) -> dict[str, tuple[LinearProbe, ndarray, float]]:
        """Probe, labels and clean standard deviation of the scores within a class, of safety and every control."""
        probes = {"safety": (self.probe, self.labels == 1), **self.controls}
        clean = {name: probe.score(self.clean.hidden.numpy()) for name, (probe, _) in probes.items()}
        return {
            name: (probe, labels, np.sqrt((clean[name][labels].var() + clean[name][~labels].var()) / 2) + 1e-9)
            for name, (probe, labels) in probes.items()
        }


def drops(clean: Mapping[str, float], perturbed: Mapping[str, float], ranges: Mapping[str, float]) -> dict[str, float]:
    """Loss of each signal as a share of its range: 0 is untouched, 1 is all safety gone.

    With control concepts, `SPECIFIC` is what safety loses more than they do.
    """
    shares = {name: (clean[name] - perturbed[name]) / max(ranges[name], 1e-9) for name in clean}
    safety = f"{CONTROL}safety"
    controls = [value for name, value in shares.items() if name.startswith(CONTROL) and name != safety]
    return {**shares, SPECIFIC: shares[safety] - statistics.fmean(controls)} if controls else shares
