"""Reasoning: what did a model say after it had thought aloud?"""

_PAIRS = tuple(
    (f"<{name}>", f"</{name}>") for name in ("think", "thinking", "thought", "reasoning", "reflection", "scratchpad")
) + (("[think]", "[/think]"), ("<|begin_of_thought|>", "<|end_of_thought|>"))
_CHANNEL, _FINAL = "<|channel|>", "<|channel|>final<|message|>"
_BARE, _BARE_FINAL = "analysis", "assistantfinal"


def without_reasoning(text: str) -> str | None:
    """What follows the last reasoning in a text; None where the reasoning never ended.

    The closing mark is enough: many templates open the reasoning themselves. A text without marks comes back as it is.
    """
    if _CHANNEL in text:
        return _after(text, _FINAL)
    if text.startswith(_BARE) and text[len(_BARE) : len(_BARE) + 1].isupper():  # decoded without its special tokens
        return _after(text, _BARE_FINAL)
    lower = text.lower()
    ends = [place + len(close) for _, close in _PAIRS if (place := lower.rfind(close)) >= 0]
    rest = text[max(ends, default=0) :]
    start = rest.lstrip().lower()
    return None if any(start.startswith(opening) for opening, _ in _PAIRS) else rest


def _after(text: str, mark: str) -> str | None:
    place = text.rfind(mark)
    return None if place < 0 else text[place + len(mark) :]
