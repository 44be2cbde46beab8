"""Task: does an answer do what the model is tuned for?"""

import re

from securetune.evaluate.answers import Answer
from securetune.evaluate.config import Metric

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def is_correct(answer: Answer, reference: str, metric: Metric, pattern: str | None = None) -> bool:
    """Compare an answer with the reference: the whole text, or the last number in each (GSM8K).

    The metric ``pattern`` asks for a form instead: the whole answer has to match the regular expression `pattern`.
    """
    if metric == "exact_match":
        return answer.text.strip() == reference.strip()
    if metric == "pattern":
        assert pattern is not None, "checked with the configuration"
        return re.fullmatch(pattern, answer.text.strip(), re.DOTALL) is not None
    numbers = [_NUMBER.findall(text) for text in (answer.text, reference)]
    found, expected = (float(n[-1].replace(",", "")) if n else None for n in numbers)
    return found is not None and found == expected
