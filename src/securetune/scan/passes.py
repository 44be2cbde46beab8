"""Passes: what do fixed prompts look like to a model with some modules perturbed?"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from transformers import PreTrainedModel

from securetune.models.features import Features, PromptBatch, extract_features
from securetune.models.topology import ModuleSet, Topology
from securetune.perturb.base.apply import Learned, Perturbation, perturbed
from securetune.scan.prefix import PrefixCache
from securetune.scan.shared import shared_tokens
from securetune.scan.signals.base.interface import Signal


def signs_of_a_draw(perturbation: Perturbation, signal: Signal) -> tuple[int, ...]:
    """The ways in which each draw is measured: both where that cancels the first order of the signal's change."""
    return (1, -1) if perturbation.is_symmetric and not signal.is_even else (1,)


class Passes:
    """Forward passes of one model on fixed prompts under one kind of perturbation."""

    def __init__(
        self,
        model: PreTrainedModel,
        topology: Topology,
        batches: Sequence[PromptBatch],
        perturbation: Perturbation,
        *,
        seed: int,
        learned: Sequence[Learned] = (),
        cached: bool = True,
        shared: bool = True,
    ) -> None:
        """Run the prompts through the model as it is.

        Args:
            model: the model.
            topology: its modules.
            batches: the prompts.
            perturbation: the kind of change.
            seed: of all draws.
            learned: a short tuning run's change per draw, for perturbations that need it.
            cached: skip the clean layers, with the same result.
            shared: run the tokens that all prompts begin with once, with the same result up to rounding.
        """
        self.model, self.topology, self.batches, self.perturbation = model, topology, batches, perturbation
        self._seed, self._learned, whole = seed, learned, extract_features(model, batches)
        self._shared = shared_tokens(model, batches, whole) if shared else None
        self._prefix = PrefixCache(model, self._shared.batches if self._shared else batches) if cached else None
        self.clean = self._shared.clean if self._shared else whole
        """Features of the prompts to the model as it is, run as under a perturbation."""

    @property
    def size(self) -> int:
        """Number of prompts."""
        return sum(len(batch.index) for batch in self.batches)

    @property
    def shared_tokens(self) -> int:
        """How many tokens that all prompts begin with are run once."""
        return self._shared.batches[0].input_ids.shape[1] if self._shared else 0

    def on(self, batches: Sequence[PromptBatch]) -> "Passes":
        """The same on other prompts."""
        return Passes(
            self.model,
            self.topology,
            batches,
            self.perturbation,
            seed=self._seed,
            learned=self._learned,
            cached=self._prefix is not None,
            shared=self._shared is not None,
        )

    @contextmanager
    def perturbed(self, modules: ModuleSet, *, strength: float, draw: int, sign: int = 1) -> Iterator[Features]:
        """Features of the prompts with `modules` perturbed jointly; the model stays so inside the `with` block.

        `sign` -1 takes the draw's change the other way.
        """
        around = None
        if self._prefix is not None:
            first = min((ref.layer for ref in modules), default=0)
            around = self._prefix.skipping(first, [self.topology.modules[r].path for r in modules if r.layer == first])
        with perturbed(
            self.model,
            self.topology,
            modules,
            self.perturbation,
            strength=strength,
            seed=self._seed * 1000 + draw,
            sign=sign,
            learned=self._learned[draw] if self._learned else None,
        ):
            if self._shared is None:
                yield extract_features(self.model, self.batches, around=around)
            else:
                yield self._shared.features(around)
