"""Degenerate: is a text one thing said again and again, or nothing at all?

A broken model repeats a character, a word or a line. Its debris is no answer, whatever words it is made of.
"""

from collections import Counter
from collections.abc import Sequence

_GRAM = 3
_MAX_REPEATED = 0.5
"""Share of word trigrams that repeat others, from which on words are a loop."""
_FEW_WORDS = 4
"""So many words that are all the same are a loop."""
_CHARACTERS = 8
_ENOUGH = 16
"""So many characters without a space tell a loop inside one word."""
_LEAST_DISTINCT = 0.4
"""Share of distinct runs of eight characters, below which they are a loop; prose has 0.8 and more."""


def is_degenerate(text: str) -> bool:
    """Whether a text has no letter or digit, or is mostly one character, word, phrase or line repeated."""
    words = text.lower().split()
    if not any(character.isalnum() for character in text):
        return True
    if len(words) >= _FEW_WORDS and len(set(words)) == 1:
        return True
    if repeated(words) >= _MAX_REPEATED:
        return True
    joined = "".join(words)
    runs = [joined[i : i + _CHARACTERS] for i in range(len(joined) - _CHARACTERS + 1)]
    return len(joined) >= _ENOUGH and len(set(runs)) < _LEAST_DISTINCT * len(runs)


def repeated(words: Sequence[str]) -> float:
    """Share of word trigrams that repeat an earlier one; 0 for fewer than three words."""
    grams = Counter(tuple(words[i : i + _GRAM]) for i in range(len(words) - _GRAM + 1))
    total = sum(grams.values())
    return 1 - len(grams) / total if total else 0.0
