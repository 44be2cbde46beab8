"""Safety steps: a few steps on rows with safe answers, after tuning."""

from collections.abc import Callable

import torch
from torch import Tensor

from securetune.defences.base.batch import TokenBatch
from securetune.defences.base.run import TrainingRun


def take_safety_steps(
    run: TrainingRun, steps: int, learning_rate: float, batch: Callable[[], dict[str, Tensor]] | None = None
) -> None:
    """Tune what is trainable by AdamW without decay.

    Args:
        run: the tuning run.
        steps: how many.
        learning_rate: their rate.
        batch: gives the rows of a step; the run's rows with safe answers in turn by default.
    """
    parameters, of_run = list(run.trainable().values()), run.step
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    for run.step in range(steps):
        gradients = run.gradients_of(lambda: TokenBatch(run=run, inputs=(batch or run.safety_batch)()).nll().mean())
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    optimizer.zero_grad()
    run.step = of_run
