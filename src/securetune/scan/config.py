"""Config: how modules are perturbed and what is read off."""

from typing import Literal

from pydantic import Field

from securetune.base.strict import Strict


class ScanConfig(Strict):
    """How modules are perturbed and what is read off."""

    when: Literal["always", "needed"] = "always"
    """``needed`` leaves out the probe, the scan and the search where no arm reads them: EMA or replay do not."""
    method: Literal["exact", "race", "gradient", "auto"] = "exact"
    """``exact`` reads every prompt for every module and measures all signals; ``race`` stops reading for a module whose
    drop is known to lie above or below its share of search.tolerance; ``gradient`` estimates all from one backward
    pass: how far a random change moves the signal either way, the first order that pairs cancel. The last two measure
    `signal` only. ``auto`` times one module and takes the exact scan where all modules fit into `auto_minutes`, else
    the race."""
    auto_minutes: float = Field(default=10, gt=0)
    """Longest that ``auto`` lets the exact scan take, without draws beyond `draws`."""
    race_error: float = Field(default=0.05, gt=0, lt=1)
    """Racing's error probability: that any module ends on another side of its share than in the exact scan."""
    perturbation: str = "lowrank"
    """Kind of damage: a file name of `securetune.perturb`."""
    tuning_steps: int = Field(default=20, ge=1)
    """Steps of the short benign LoRA runs, one per draw, that the perturbation ``tuned`` makes first."""
    strength: float | None = Field(default=None, gt=0)
    """Relative size of the change; by default the one at which random halves of the modules lose search.tolerance."""
    draws: int = Field(default=2, ge=1)
    """Independent random draws of the perturbation per module. A draw is a pair of passes, one with the change and one
    with its negative, whose mean holds no first-order noise; it is a single pass where the perturbation is not
    symmetric or `signal` falls both ways (``first_token_kl``)."""
    reliability: float = Field(default=0.8, ge=0, le=1)
    """More draws are taken, one at a time, until the ranking beyond layer 0 is this reliable: the agreement of two
    halves of the draws, stepped up to all of them."""
    max_draws: int = Field(default=8, ge=1)
    """Most draws per module that this may come to; at most `draws` takes no more than those."""
    prompts: int = Field(default=100, ge=10)
    """Malicious and benign prompts each that the scan reads."""
    signal: str = "refusal_margin"
    """Signal that calibration and search follow: a file name of `securetune.scan.signals`."""
    answers: int = Field(default=0, ge=0)
    """Malicious prompts whose generated answers are judged too, as the slow signal `ANSWERS`; 0 leaves it out."""
    batch_size: int = Field(default=64, ge=1)
    """Prompts per forward pass."""
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    """Seed of all draws; by default the run's."""
