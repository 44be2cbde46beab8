"""Row filter: the rows that would move the model most, or look most like harmful prompts to it, are left out.

Sources: the norm of a row's gradient before tuning, arXiv 2604.17215; likeness to harmful prompts in the states of a
layer, after LARF (arXiv 2507.18631), which has harmful answers to compare with: here it is how far the state at the end
of a row's last request goes from the mean of the harmless prompts towards that of the malicious ones. Share and layer
are our choice.
"""

import logging
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from securetune.base.progress import progress_bar
from securetune.data.drawn import Drawn
from securetune.data.prompts import Example
from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.interface import Defence, Settings
from securetune.defences.base.needs import PROMPTS, REFERENCE
from securetune.defences.base.run import TrainingRun

log = logging.getLogger(__name__)
_SHOWN = 60


class Filter(Settings):
    """Settings of the row filter."""

    by: Literal["gradient_norm", "representation"] = "gradient_norm"
    """What of a row counts."""
    share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the rows that is left out."""
    depth: float = Field(default=0.5, ge=0, le=1)
    """Of the representation: which layer, from 0 (the first) to 1 (the last)."""


class RowFilter(Defence):
    """Tuning without the rows that erode most."""

    title, paper = "row filter", "arXiv 2604.17215, 2507.18631"
    needs = (REFERENCE, PROMPTS)
    cost = "none; once, a pass through every row, with its gradient by default"
    Settings = Filter

    def select_rows(self, run: TrainingRun, rows: Sequence[Example]) -> Sequence[Example]:
        """All rows but those with the largest scores, in their order."""
        dropped = int(self.settings.share * len(rows))
        scores = self.scores(run, rows)
        order = sorted(range(len(rows)), key=lambda place: -scores[place])
        if dropped:
            first = rows[order[0]]["prompt"][-1]["content"]
            log.info("%s leaves out %d of %d rows, first %r", self.title, dropped, len(rows), first[:_SHOWN])
        return Drawn([rows], sorted(order[dropped:]))

    def scores(self, run: TrainingRun, rows: Sequence[Example]) -> list[float]:
        """Per row, how much speaks against it."""
        if self.settings.by == "gradient_norm":
            with progress_bar() as bar:
                return [_gradient_norm(run, row) for row in bar.track(rows, description="Rows' gradients")]
        requests = [row["prompt"][-1]["content"] for row in rows]
        of_all = [run.prompt_states(texts) for texts in (requests, run.resources.malicious, run.resources.benign)]
        layer = round(self.settings.depth * (len(of_all[0]) - 1))
        return likeness(*(states[layer] for states in of_all))


def _gradient_norm(run: TrainingRun, row: Example) -> float:
    """Norm of the gradient of a row's mean loss on its answer."""
    gradients = run.gradients_of(lambda: TokenBatch(run=run, inputs=run.batch([row])).nll().mean())
    return float(torch.stack([gradient.float().norm() for gradient in gradients]).norm())


def likeness(states: Tensor, malicious: Tensor, benign: Tensor) -> list[float]:
    """How far states go from the harmless prompts' mean towards the malicious ones', which is 1."""
    difference = malicious.mean(0) - benign.mean(0)
    away = (states - benign.mean(0)) @ difference / difference.square().sum().clamp(min=1e-12)
    return [float(value) for value in away]


defence = RowFilter
