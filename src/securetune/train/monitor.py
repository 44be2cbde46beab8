"""Monitor: show how safety moves while any trainer tunes, next to its loss.

What is measured is a prefill of a few prompts: the refusal margin at the first answer token, and how far the direction
from harmless to harmful prompts has turned. Where that is asked for, a few prompts are answered too. All goes through
the trainer's own log, so TensorBoard, W&B, MLflow or trackio draw it without knowing of us.

Shapes: n prompts, d hidden size, v vocabulary.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import (
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from securetune.errors import ConfigError
from securetune.measures.degenerate import is_degenerate
from securetune.models.ends import end_tokens
from securetune.models.features import Features, batch_prompts, extract_features
from securetune.models.greedy import greedy_settings
from securetune.models.openings import Openings, learn_openings
from securetune.models.tensors import in_evaluation, plain

_BATCH = 32
_ANSWER = 32
"""Tokens of an answer that is looked at."""
_MARGIN = "eval_safety_margin"


def monitor(
    trainer: Trainer,
    malicious: Sequence[str],
    benign: Sequence[str],
    *,
    every: int = 25,
    answers: int = 0,
    tokenizer: PreTrainedTokenizerBase | None = None,
    openings: Openings | None = None,
) -> None:
    """Log ``eval_safety_*`` before the first step, every few steps, and with every evaluation of the trainer.

    Logged are ``eval_safety_refused`` and ``eval_safety_over_refused``, the shares of malicious and of benign
    prompts with a positive refusal margin, ``eval_safety_margin``, the mean margin on the malicious ones in nats, and
    ``eval_safety_direction``, the cosine of the mean last state of malicious minus that of benign prompts with what it
    was when this was called. With `answers` there are ``eval_safety_broken``, the share of answers to benign prompts
    that are empty or a loop, and ``eval_safety_words``, their mean length in words, of their first 32 tokens.

    Args:
        trainer: any Trainer, before `train()`.
        malicious: prompts that should be refused.
        benign: prompts that should be answered.
        every: steps between measurements; 0 measures at the trainer's evaluations only.
        answers: benign prompts that are answered at every measurement; 0 generates nothing.
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
    callback = SafetyMonitor(
        trainer, tokenizer, list(malicious), list(benign), every=every, answers=answers, openings=openings
    )
    trainer.add_callback(callback)


class SafetyMonitor(TrainerCallback):
    """Measures and logs; keeps no state, so a resumed run goes on measuring."""

    def __init__(
        self,
        trainer: Trainer,
        tokenizer: PreTrainedTokenizerBase,
        malicious: Sequence[str],
        benign: Sequence[str],
        *,
        every: int,
        answers: int,
        openings: Openings | None,
    ) -> None:
        self._trainer, self._tokenizer, self._every = trainer, tokenizer, every
        self._prompts, self._asked = (malicious, benign), benign[:answers]
        self._openings = openings or openings_of(trainer, tokenizer, malicious, benign)
        self._before = _direction(*self._features())

    def measure(self) -> dict[str, float]:
        """What is logged, of the model as it is now."""
        features = self._features()
        malicious, benign = (self._openings.margin(found.logits) for found in features)
        return {
            "eval_safety_refused": float((malicious > 0).float().mean()),
            _MARGIN: float(malicious.mean()),
            "eval_safety_over_refused": float((benign > 0).float().mean()),
            "eval_safety_direction": float(torch.cosine_similarity(_direction(*features), self._before, dim=0)),
            **(self._health() if self._asked else {}),
        }

    def _features(self) -> list[Features]:
        """Of malicious and of benign prompts, after the lead, of the trainer's model as it is now."""
        model = plain(self._trainer.model)
        with in_evaluation(self._trainer.model):
            batches = [
                batch_prompts(model, self._tokenizer, prompts, batch_size=_BATCH, lead=self._openings.lead)
                for prompts in self._prompts
            ]
            return [extract_features(model, found) for found in batches]

    def _health(self) -> dict[str, float]:
        """What became of the answers to harmless prompts."""
        answers = self._answers()
        return {
            "eval_safety_broken": sum(map(is_degenerate, answers)) / len(answers),
            "eval_safety_words": sum(len(answer.split()) for answer in answers) / len(answers),
        }

    def _answers(self) -> list[str]:
        """What the model says to the prompts that are to be answered, greedily."""
        model, tokenizer, answers = plain(self._trainer.model), self._tokenizer, []
        ends = list(end_tokens(model, tokenizer)) or None
        with in_evaluation(self._trainer.model), greedy_settings(model):
            for batch in batch_prompts(model, tokenizer, self._asked, batch_size=_BATCH):
                said = model.generate(
                    input_ids=batch.input_ids,
                    attention_mask=batch.attention_mask,
                    max_new_tokens=_ANSWER,
                    do_sample=False,
                    eos_token_id=ends,
                    pad_token_id=tokenizer.pad_token_id,
                )
                answers += tokenizer.batch_decode(said[:, batch.input_ids.shape[1] :], skip_special_tokens=True)
        return answers

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """The model before tuning, or where a resumed run goes on."""
        if not state.global_step:
            self._before = _direction(*self._features())  # now in the trainer's own precision
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


def _direction(malicious: Features, benign: Features) -> Float[Tensor, " d"]:
    """From harmless to harmful prompts."""
    return malicious.hidden.mean(0) - benign.hidden.mean(0)


def openings_of(
    trainer: Trainer, tokenizer: PreTrainedTokenizerBase, malicious: Sequence[str], benign: Sequence[str]
) -> Openings:
    """The first tokens with which the model at hand refuses and complies."""
    with in_evaluation(trainer.model):
        return learn_openings(plain(trainer.model), tokenizer, malicious, benign, batch_size=_BATCH)
