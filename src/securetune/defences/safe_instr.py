"""SafeInstr: mix prompts with safe answers into the tuning rows.

Source: Bianchi et al., ICLR 2024 (arXiv 2309.07875): a few per cent give most of the gain, more brings needless
refusals.
"""

import random
from array import array
from collections.abc import Sequence

from pydantic import Field

from securetune.data.drawn import Drawn
from securetune.data.prompts import Example, repeated
from securetune.defences.base.interface import Defence, Settings
from securetune.defences.base.needs import SAFETY_ROWS


class MixIn(Settings):
    """Settings of SafeInstr."""

    share: float = Field(default=0.03, gt=0, lt=1)
    """Rows with safe answers, as a share of the task's rows."""


class SafeInstr(Defence):
    """Safety rows among the task's."""

    title, paper = "SafeInstr", "arXiv 2309.07875"
    needs = (SAFETY_ROWS,)
    cost = "none; some steps go to safety rows"
    Settings = MixIn

    def edit_data(self, rows: Sequence[Example], safety: Sequence[Example], seed: int) -> Sequence[Example]:
        """The task's rows and, spread over them, the safety rows."""
        return mixed(rows, safety, self.settings.share, seed)


def mixed(rows: Sequence[Example], safety: Sequence[Example], share: float, seed: int) -> Sequence[Example]:
    """All of `rows` and `share` as many of `safety`, shuffled; safety rows repeat where there are too few."""
    rng = random.Random(seed)
    wanted = max(1, round(share * len(rows)))
    order = array("q", range(len(rows) + wanted))
    drawn = repeated(safety, wanted, rng)
    rng.shuffle(order)
    return Drawn([rows, drawn], order)


defence = SafeInstr
