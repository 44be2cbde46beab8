"""Patterns: how is a regular expression that somebody else wrote matched, without waiting for ever?

A plan, a configuration or a plug-in may bring any expression, and some take longer than a lifetime on forty letters
(`catastrophic backtracking <https://www.regular-expressions.info/catastrophic.html>`_). They mean here what they mean
to Python's `re`, so that a plan can be read by other trainers; the package `regex`, whose matches have a time limit,
does the matching.
"""

import re
from functools import lru_cache
from typing import Annotated

import regex
from pydantic import AfterValidator

from securetune.errors import PatternError

LONGEST = 20_000
"""Characters of the longest pattern; a plan that names every layer of a large model has some hundred."""
LIMIT = 0.5
"""Seconds that matching one text may take."""


def compiles(pattern: str) -> str:
    """The pattern itself, once it is sure that it is one.

    Raises:
        ValueError: it is too long, or no regular expression.
    """
    if len(pattern) > LONGEST:
        raise ValueError(f"the pattern has {len(pattern)} characters, more than {LONGEST}: write several shorter ones")
    try:
        re.compile(pattern)
        _compiled(pattern, 0)
    except (re.error, regex.error, OverflowError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else error
        raise ValueError(f"{_shortened(pattern)} is not a regular expression: {reason}") from error
    return pattern


Regex = Annotated[str, AfterValidator(compiles)]
"""Text that is a regular expression."""


def is_found(pattern: str, text: str) -> bool:
    """Whether a pattern is found anywhere in a text.

    Raises:
        PatternError: it takes longer than `LIMIT` to tell.
    """
    try:
        return _compiled(pattern, 0).search(text, timeout=LIMIT) is not None
    except TimeoutError as error:
        raise _too_slow(pattern, text) from error


def matches_whole(pattern: str, text: str) -> bool:
    """Whether a pattern matches a text from its beginning to its end; a dot matches line ends, too.

    Raises:
        PatternError: it takes longer than `LIMIT` to tell.
    """
    try:
        return _compiled(pattern, regex.DOTALL).fullmatch(text, timeout=LIMIT) is not None
    except TimeoutError as error:
        raise _too_slow(pattern, text) from error


@lru_cache(maxsize=4096)
def _compiled(pattern: str, flags: int) -> "regex.Pattern[str]":
    return regex.compile(pattern, flags | regex.VERSION0)


def _too_slow(pattern: str, text: str) -> PatternError:
    return PatternError(
        f"Expected the pattern {_shortened(pattern)} to be matched within {LIMIT} s, found that it takes longer on "
        f"{_shortened(text)}. Take out repetitions within repetitions, such as (a+)+, and alternatives that overlap."
    )


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
