"""Monitor: show how safety moves while any trainer tunes, next to its loss.

What is measured is a prefill of a few prompts, nothing is generated: the refusal margin at the first answer token. It
goes through the trainer's own log, so TensorBoard, W&B, MLflow or trackio draw it without knowing of us.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from transformers import (
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from securetune.errors import ConfigError
from securetune.models.features import batch_prompts, extract_features
from securetune.models.openings import Openings, learn_openings
from securetune.models.tensors import in_evaluation, plain

_BATCH = 32
_MARGIN = "eval_safety_margin"


def monitor(
    trainer: Trainer,
    malicious: Sequence[str],
    benign: Sequence[str],
    *,
    every: int = 25,
    tokenizer: PreTrainedTokenizerBase | None = None,
    openings: Openings | None = None,
) -> None:
    """Log ``eval_safety_*`` before the first step, every few steps, and with every evaluation of the trainer.

    Logged are ``eval_safety_refused`` and ``eval_safety_over_refused``, the shares of malicious and of benign
    prompts with a positive refusal margin, and ``eval_safety_margin``, the mean margin on the malicious ones in nats.

    Args:
        trainer: any Trainer, before `train()`.
        malicious: prompts that should be refused.
        benign: prompts that should be answered.
        every: steps between measurements; 0 measures at the trainer's evaluations only.
        tokenizer: by default the trainer's.
        openings: first tokens of refusals and compliance; by default read off the model as it is now.

    Raises:
        ConfigError: no prompts, or no tokenizer.
        ScanError: the model opens alike on both kinds of prompts.
    """
    tokenizer = tokenizer or trainer.processing_class
    if not malicious or not benign or tokenizer is None:
        raise ConfigError(
            f"Expected malicious and benign prompts and a tokenizer, found {len(malicious)}, {len(benign)} and "
            f"{type(tokenizer).__name__}. Give all three."
        )
    trainer.add_callback(SafetyMonitor(trainer, tokenizer, list(malicious), list(benign), every, openings))


class SafetyMonitor(TrainerCallback):
    """Measures and logs; keeps no state, so a resumed run goes on measuring."""

    def __init__(
        self,
        trainer: Trainer,
        tokenizer: PreTrainedTokenizerBase,
        malicious: Sequence[str],
        benign: Sequence[str],
        every: int,
        openings: Openings | None,
    ) -> None:
        self._trainer, self._tokenizer, self._every = trainer, tokenizer, every
        self._prompts = (malicious, benign)
        self._openings = openings or openings_of(trainer, tokenizer, malicious, benign)

    def measure(self) -> dict[str, float]:
        """What is logged, of the model as it is now."""
        malicious, benign = (
            self._openings.margin(first_logits(self._trainer, self._tokenizer, prompts, self._openings.lead))
            for prompts in self._prompts
        )
        return {
            "eval_safety_refused": float((malicious > 0).float().mean()),
            _MARGIN: float(malicious.mean()),
            "eval_safety_over_refused": float((benign > 0).float().mean()),
        }

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """The model before tuning, or where a resumed run goes on."""
        self._log(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Every few steps."""
        if self._every and state.global_step % self._every == 0:
            self._log(state)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """With the trainer's own measurements."""
        self._log(state)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """The model that comes out, where it is no longer that of the last step: a defence may have changed it."""
        last = self._logged(state)
        now = self.measure()
        if last is None or any(last[name] != value for name, value in now.items()):
            self._write(now)

    def _log(self, state: TrainerState) -> None:
        if self._logged(state) is None:
            self._write(self.measure())

    @staticmethod
    def _logged(state: TrainerState) -> dict[str, float] | None:
        """This step's latest entry; a run that begins or is resumed brings its own log along."""
        entries = (entry for entry in reversed(state.log_history) if _MARGIN in entry)
        latest = next(entries, None)
        return latest if latest is not None and latest["step"] == state.global_step else None

    def _write(self, values: dict[str, float]) -> None:
        is_due = self._trainer.control.should_log
        # In training mode TRL's trainers would mix their training metrics in, and forget them.
        with in_evaluation(self._trainer.model):
            self._trainer.log(values)
        self._trainer.control.should_log = is_due  # writing takes back what was due, this step's training loss


def first_logits(
    trainer: Trainer, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], lead: Sequence[int] = ()
) -> Float[torch.Tensor, "n v"]:
    """Logits of the first answer token (after the lead) to every prompt, of the trainer's model as it is now."""
    model = plain(trainer.model)
    with in_evaluation(trainer.model):
        return extract_features(model, batch_prompts(model, tokenizer, prompts, batch_size=_BATCH, lead=lead)).logits


def openings_of(
    trainer: Trainer, tokenizer: PreTrainedTokenizerBase, malicious: Sequence[str], benign: Sequence[str]
) -> Openings:
    """The first tokens with which the model at hand refuses and complies."""
    with in_evaluation(trainer.model):
        return learn_openings(plain(trainer.model), tokenizer, malicious, benign, batch_size=_BATCH)
