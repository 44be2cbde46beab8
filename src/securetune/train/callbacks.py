"""Callbacks: when does the package's own training run stop, what does it show, and what does a step cost?"""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from securetune.base.progress import progress_bar
from securetune.errors import TrainingError
from securetune.measures.loss_target import LossTarget

_NEAR = 1.25
"""A held-out loss below this many times the target is measured more often."""


class StopAtLoss(TrainerCallback):
    """Ends training when the held-out loss has reached the target.

    It looks more often when the loss is near. It keeps no state of its own, so a resumed run looks at the same steps
    as an uninterrupted one.
    """

    def __init__(self, target: LossTarget, every: int) -> None:
        self.target, self.every = target, every

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Ask for a measurement when one is due."""
        losses = (entry["eval_loss"] for entry in reversed(state.log_history) if "eval_loss" in entry)
        is_near = next(losses, math.inf) < self.target.plain * _NEAR
        interval = max(1, self.every // 5) if is_near else self.every
        control.should_evaluate = control.should_evaluate or state.global_step % interval == 0

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop at the target."""
        if self.target.is_reached((kwargs.get("metrics") or {}).get("eval_loss", math.inf)):
            control.should_training_stop = True


class NoCheckpointAtTheEnd(TrainerCallback):
    """Keeps no checkpoint of the last step: the trainer, resuming from one, would train a step too many."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Take back the save that the trainer plans for its last step."""
        control.should_save = control.should_save and not control.should_training_stop

    on_evaluate = on_step_end
    """The same where a measurement has ended training; the save comes after it."""


class StopAtNaN(TrainerCallback):
    """Stops with an error at the first loss that is not a finite number."""

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Check what has just been logged."""
        for name in ("loss", "grad_norm"):
            value = (kwargs.get("logs") or {}).get(name)
            if value is not None and not math.isfinite(value):
                raise TrainingError(
                    f"Expected a finite {name} at step {state.global_step}, found {value}. Lower train.learning_rate "
                    f"(now {args.learning_rate:g}), use bf16 instead of float16, or look for empty answers in the data."
                )


class Cost(TrainerCallback):
    """Time per optimizer step, without measurements and checkpoints, and the peak of the GPU's memory."""

    WARM_UP = 2
    """Steps that do not count."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._begun = 0.0

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Start the clock."""
        self._begun = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Stop it."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._times.append(time.perf_counter() - self._begun)

    def to_dict(self) -> dict[str, float | None]:
        """Seconds per step, and bytes."""
        times = self._times[self.WARM_UP :] or self._times or [math.nan]
        memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
        return {"step_seconds": sum(times) / len(times), "memory": memory}


class ShowProgress(TrainerCallback):
    """One progress bar with the time left and the latest loss, in place of the trainer's own lines."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._progress = progress_bar()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Show the bar."""
        self._progress.start()
        self._task = self._progress.add_task(self._description, total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Move on by a step."""
        self._progress.update(self._task, completed=state.global_step)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Put the latest loss beside the bar."""
        logs = kwargs.get("logs") or {}
        if "loss" in logs and not self._progress.finished:
            self._progress.update(self._task, description=f"{self._description} loss {float(logs['loss']):.3f}")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Take the bar away."""
        self._progress.stop()


class GiveBack(TrainerCallback):
    """Gives the user's model back as it came, once training and its defences are done with it."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back = give_back

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Give it back."""
        self._give_back()
