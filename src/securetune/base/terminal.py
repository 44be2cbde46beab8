"""Terminal: how does text that somebody else wrote get to a screen or a log, without steering it?"""

import logging
import unicodedata

from securetune.keys import without_keys

_KEPT = "\n\t\u200c\u200d"
"""Among them the joiners, which several scripts and many emoji need."""
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories: controls (escape sequences begin with one), what turns the direction round, half characters."""


def for_terminal(text: str) -> str:
    """The text, `visible` and without keys."""
    return visible(without_keys(text))


def visible(text: str) -> str:
    r"""The text with whatever steers a terminal or hides from a reader written out, as ``\x1b``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_seen(letter) for letter in text)


def _seen(letter: str) -> str:
    is_unseen = letter not in _KEPT and unicodedata.category(letter) in _UNSEEN
    return letter.encode("unicode_escape").decode() if is_unseen else letter


class LogFormatter(logging.Formatter):
    """Log lines that steer no terminal and hold no key."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        return for_terminal(super().format(record))
