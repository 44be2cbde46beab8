"""Tuned: what a short benign tuning run changes in the module, times the strength.

Unlike noise it knows the task: a direction that tuning never takes costs nothing here. Every draw is a run of its own.
"""

from torch import Tensor

from securetune.perturb.base.apply import Draw, Perturbation


def change(weight: Tensor, strength: float, draw: Draw) -> Tensor:
    """`strength` times the module's own change, so strength 1 is the module after the short run."""
    return draw.learned(weight) * strength


perturbation = Perturbation(change, strengths=(1.0, 2.0, 4.0, 8.0, 16.0, 32.0), needs_tuning=True)
