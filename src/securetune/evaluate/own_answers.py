"""Own answers: which safe answers does a model give by itself, so that nobody has to bring any?

Source: self-generated safety rows, arXiv 2603.10243: the refusals that a model gave before tuning are what it is shown
while it is tuned. Its answers to harmless prompts come with them, so that it does not learn to refuse everything.
"""

import logging
import math
import random
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.data.prompts import render
from securetune.errors import DataError
from securetune.evaluate.answers import Answer
from securetune.evaluate.config import EvaluateConfig
from securetune.evaluate.generation import Decoding, generate
from securetune.evaluate.untuned import phrases_judge
from securetune.measures.degenerate import is_degenerate
from securetune.measures.kinds import Response

log = logging.getLogger(__name__)

LONGEST = 200
"""Tokens of an answer; one that has not ended by then is no row, as it would be trained on without its end."""
HELPFUL = 0.1
"""Helpful answers to a refusal, at most: they hold the model to its own style, which the task's rows are to change."""
_TRIED = 3
"""Benign prompts to a helpful answer that is wanted: they take most of the time, and some answers are no rows."""
FEWEST = 32
"""Refusals below which there is too little to train on."""


def own_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    malicious: Sequence[str],
    benign: Sequence[str],
    config: EvaluateConfig,
) -> list[dict[str, str]]:
    """Rows of a prompt and the model's answer: refusals of malicious prompts, and fewer helpful answers to benign ones.

    Args:
        model: the model before tuning.
        tokenizer: its tokenizer.
        malicious: prompts that it should refuse.
        benign: prompts that it should answer.
        config: how it is asked and judged, by phrases.

    Raises:
        DataError: it refuses too few of the malicious prompts.
    """
    most = math.ceil(HELPFUL * len(malicious))
    benign = random.Random(0).sample(benign, min(len(benign), _TRIED * most))
    prompts = [*malicious, *benign]
    decoding = Decoding(max_new_tokens=LONGEST, batch_size=config.batch_size, description="its own safety rows")
    generated = generate(model, tokenizer, render(tokenizer, prompts, system=config.system), decoding)
    answers = [Answer(prompt=p, text=a.text, is_cut=a.is_cut) for p, a in zip(prompts, generated, strict=True)]
    wanted = [Response.REFUSED] * len(malicious) + [Response.HELPED] * len(benign)
    verdicts = phrases_judge(config).judge(answers)
    rows: dict[Response, list[dict[str, str]]] = {Response.REFUSED: [], Response.HELPED: []}
    for answer, full, verdict, response in zip(answers, generated, verdicts, wanted, strict=True):
        is_wanted = verdict is not None and verdict.response is response
        if full.has_ended and is_wanted and not is_degenerate(answer.text):
            rows[response].append({"prompt": answer.prompt, "completion": answer.text.strip()})
    refusals, helpful = rows[Response.REFUSED], rows[Response.HELPED]
    if len(refusals) < FEWEST:
        raise DataError(
            f"Expected at least {FEWEST} refusals of the model's own for `safety: self`, found {len(refusals)} among "
            f"its answers to {len(malicious)} malicious prompts of the analysis that ended within {LONGEST} tokens. "
            "Give `analysis` more malicious prompts, or `safety` a file of prompts with safe answers; or take a "
            "defence that needs none, such as lower_lr."
        )
    if not helpful:
        log.warning(
            "Of %d harmless prompts the model answers none helpfully within %d tokens: on refusals alone it may learn "
            "to refuse what is harmless, too. Watch over-refusal, or give `safety` a file with helpful answers, too.",
            len(benign),
            LONGEST,
        )
    return refusals + helpful[: math.ceil(HELPFUL * len(refusals))]
