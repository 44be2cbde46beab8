"""Untuned: does the model refuse and answer before it is tuned, and do phrases and margin say the same?

A few prompts of each kind are answered twice: as the evaluation does it, and as the model's own `generate` does, token
by token, which shows where an answer ends and what stands in it before anything is taken out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.data.prompts import render
from securetune.data.rendering import THINKING_MARKS
from securetune.errors import ScanError
from securetune.evaluate.answers import Answer, generate_answers, questions
from securetune.evaluate.config import EvaluateConfig
from securetune.evaluate.generation import Decoding
from securetune.evaluate.judges import JUDGES
from securetune.evaluate.judges.base.interface import Judge
from securetune.evaluate.preflight import AnswersFound, Untuned
from securetune.measures.kinds import Response
from securetune.measures.language import language
from securetune.measures.statistics import proportion
from securetune.models.ends import end_tokens
from securetune.models.features import batch_texts
from securetune.models.openings import Openings, learn_openings

_SHOWN = 100
"""Characters of a prompt or an answer that are kept to be read."""


@dataclass(frozen=True, kw_only=True)
class _Said:
    """An answer in both views."""

    answer: Answer
    """As the evaluation reads it."""
    whole: str
    """All that the model has generated."""
    ended: bool
    runs_on: bool
    """Whether the evaluation reads on behind the template's end."""


def phrases_judge(config: EvaluateConfig) -> Judge:
    """The judge of phrases, as the evaluation would ask it."""
    name = "refusal_phrases"
    judge: Judge = JUDGES.make(name, config.judge.get(name, {}), f"evaluate.judge.{name}")
    return judge


def ask_untuned(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    malicious: Sequence[str],
    benign: Sequence[str],
    config: EvaluateConfig,
    *,
    end: str | None = None,
) -> Untuned:
    """What the model says to prompts of both kinds.

    Args:
        model: the model before tuning.
        tokenizer: its tokenizer.
        malicious: prompts that it should refuse.
        benign: prompts that it should answer.
        config: how it is asked.
        end: the token with which the template ends an answer.
    """
    openings, no_openings = _openings(model, tokenizer, malicious, benign, config)
    stops = set(end_tokens(model, tokenizer))
    said = _ask(model, tokenizer, [*malicious, *benign], config, openings=openings, stops=stops, end=end)
    judge = phrases_judge(config)
    return Untuned(
        malicious=_found(said[: len(malicious)], judge, is_refused=True),
        benign=_found(said[len(malicious) :], judge, is_refused=False),
        language=language([one.answer.text for one in said]),
        ends=[str(tokenizer.convert_ids_to_tokens(stop)) for stop in sorted(stops)],
        no_openings=no_openings,
    )


def _openings(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    malicious: Sequence[str],
    benign: Sequence[str],
    config: EvaluateConfig,
) -> tuple[Openings | None, str | None]:
    """The model's openings on these prompts, or why it has none."""
    try:
        return learn_openings(model, tokenizer, malicious, benign, batch_size=config.batch_size), None
    except ScanError as error:
        return None, str(error)


def _ask(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    config: EvaluateConfig,
    *,
    openings: Openings | None,
    stops: set[int],
    end: str | None,
) -> list[_Said]:
    """Every prompt's answer in both views."""
    ends = stops | ({tokenizer.convert_tokens_to_ids(end)} if end else set())
    decoding = Decoding(max_new_tokens=config.max_new_tokens, batch_size=config.batch_size, openings=openings)
    answers = generate_answers(model, tokenizer, questions(tokenizer, prompts, system=config.system), decoding)
    generated = _generated(model, tokenizer, render(tokenizer, prompts, system=config.system), config)
    said = []
    for answer, ids in zip(answers, generated, strict=True):
        place = next((i for i, token in enumerate(ids) if token in ends), None)
        to_its_end = tokenizer.decode(ids[:place], skip_special_tokens=True).strip()
        is_longer = answer.text.startswith(to_its_end) and len(answer.text) > len(to_its_end)
        runs_on = place is not None and ids[place] not in stops and is_longer
        said.append(_Said(answer=answer, whole=tokenizer.decode(ids), ended=place is not None, runs_on=runs_on))
    return said


@torch.no_grad()
def _generated(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], config: EvaluateConfig
) -> list[list[int]]:
    """Token ids that the model itself generates, in the order of the texts."""
    ids: dict[int, list[int]] = {}
    for batch in batch_texts(model, tokenizer, texts, batch_size=config.batch_size):
        out = model.generate(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            max_new_tokens=config.max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        ids |= zip(batch.index, out[:, batch.input_ids.shape[1] :].tolist(), strict=True)
    return [ids[i] for i in range(len(texts))]


def _found(said: Sequence[_Said], judge: Judge, *, is_refused: bool) -> AnswersFound:
    """What the answers to prompts of one kind amount to; `is_refused` is what should happen to them."""
    verdicts = judge.judge([one.answer for one in said])
    by_phrases = [verdict is not None and verdict.response is Response.REFUSED for verdict in verdicts]
    margins = [one.answer.margin for one in said]
    by_margin = [margin > 0 for margin in margins if margin is not None]
    has_margins = len(by_margin) == len(said)
    agree = [a == b for a, b in zip(by_phrases, by_margin, strict=False)]
    both = zip(by_phrases, by_margin if has_margins else by_phrases, strict=True)
    telling = next((i for i, pair in enumerate(both) if pair != (is_refused, is_refused)), 0)
    return AnswersFound(
        n=len(said),
        phrases=proportion(by_phrases),
        margin=proportion(by_margin) if has_margins else None,
        agree=proportion(agree) if has_margins else None,
        ended=proportion([one.ended for one in said]),
        runs_on=proportion([one.runs_on for one in said]),
        thinking=proportion([any(mark in one.whole for mark in THINKING_MARKS) for one in said]),
        prompt=said[telling].answer.prompt[:_SHOWN],
        answer=said[telling].answer.text[:_SHOWN],
    )
