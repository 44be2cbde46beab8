"""Untuned: does the model refuse and answer before it is tuned, and do phrases and margin say the same?

A few prompts of each kind are answered as the evaluation does it.
"""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.data.prompts import render
from securetune.data.reasoning import has_marks
from securetune.errors import ScanError
from securetune.evaluate.answers import Answer
from securetune.evaluate.config import EvaluateConfig
from securetune.evaluate.generation import Decoding, Generated, generate
from securetune.evaluate.judges import JUDGES
from securetune.evaluate.judges.base.interface import Judge
from securetune.evaluate.preflight import AnswersFound, Untuned
from securetune.measures.kinds import Response
from securetune.measures.language import language
from securetune.measures.statistics import proportion
from securetune.models.ends import end_tokens
from securetune.models.openings import Openings, learn_openings

_SHOWN = 100
"""Characters of a prompt or an answer that are kept to be read."""


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
) -> Untuned:
    """What the model says to prompts of both kinds.

    Args:
        model: the model before tuning.
        tokenizer: its tokenizer.
        malicious: prompts that it should refuse.
        benign: prompts that it should answer.
        config: how it is asked.
    """
    openings, no_openings = _openings(model, tokenizer, malicious, benign, config)
    decoding = Decoding(max_new_tokens=config.max_new_tokens, batch_size=config.batch_size, openings=openings)
    prompts = [*malicious, *benign]
    answers = generate(model, tokenizer, render(tokenizer, prompts, system=config.system), decoding)
    judge, first_benign = phrases_judge(config), len(malicious)
    return Untuned(
        malicious=_found(malicious, answers[:first_benign], judge, is_refused=True),
        benign=_found(benign, answers[first_benign:], judge, is_refused=False),
        language=language([answer.text for answer in answers]),
        ends=[str(tokenizer.convert_ids_to_tokens(stop)) for stop in end_tokens(model, tokenizer)],
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


def _found(prompts: Sequence[str], answers: Sequence[Generated], judge: Judge, *, is_refused: bool) -> AnswersFound:
    """What the answers to prompts of one kind amount to; `is_refused` is what should happen to them."""
    pairs = list(zip(prompts, answers, strict=True))
    verdicts = judge.judge(
        [Answer(prompt=prompt, text=a.text, reasoning=a.reasoning, is_cut=a.is_cut) for prompt, a in pairs]
    )
    by_phrases = [verdict is not None and verdict.response is Response.REFUSED for verdict in verdicts]
    by_margin = [answer.margin > 0 for answer in answers if answer.margin is not None]
    has_margins = len(by_margin) == len(answers)
    agree = [a == b for a, b in zip(by_phrases, by_margin, strict=False)]
    both = zip(by_phrases, by_margin if has_margins else by_phrases, strict=True)
    telling = next((i for i, pair in enumerate(both) if pair != (is_refused, is_refused)), 0)
    return AnswersFound(
        n=len(answers),
        phrases=proportion(by_phrases),
        margin=proportion(by_margin) if has_margins else None,
        agree=proportion(agree) if has_margins else None,
        ended=proportion([answer.has_ended for answer in answers]),
        thinking=proportion([has_marks(answer.reasoning + answer.text) for answer in answers]),
        prompt=prompts[telling][:_SHOWN],
        answer=answers[telling].text[:_SHOWN],
    )
