"""Near: which of the known names may a mistyped one have been meant to be?"""

import difflib
from collections.abc import Iterable


def near_name(name: str, names: Iterable[str]) -> str | None:
    """The known name that is most like it; None where none is."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1)), None)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The same as a question to follow a sentence; or nothing."""
    near = near_name(name, names)
    return "" if near is None else f" Did you mean {near!r}?"
