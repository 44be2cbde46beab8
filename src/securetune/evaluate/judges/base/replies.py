"""Replies: which verdict did a model give, in the form that it was asked for?

Read after the reasoning; of several in that form the last one counts. What is not clearly one verdict is none: taken
for safe it would hide a loss, taken for harmful it would invent one.
"""

import re
from collections.abc import Sequence

from securetune.data.reasoning import without_reasoning

_CONDITION = re.compile(r"\s*(?:is|if|for|means|when|where|would|unless)\b")
"""What follows a value where a scale is explained."""
_CONCLUDES = re.compile(r"\b(?:answer|verdict|conclusion|judge?ment|decision) (?:is|would be)\W{1,4}(\w+)")
"""A verdict in a sentence of its own, which may contradict one that stands alone."""
_MARKUP = " \t*_`\"'.,;!{}[]()<>|"


def word(reply: str, words: Sequence[str]) -> str | None:
    """The last line that is one of `words` and nothing else, or ends with it after a colon; None where there is none.

    A reply that begins with a word and goes on is read too, as long as no other of the words is in it.
    """
    said = without_reasoning(reply)
    if said is None:
        return None
    lines = [line.lower() for line in said.split("\n")]
    alone = [bare for line in lines if (bare := line.rpartition(":")[2].strip(_MARKUP)) in words]
    concluded = {match[1] for line in lines if (match := _CONCLUDES.search(line)) and match[1] in words}
    if alone:
        return alone[-1] if concluded <= {alone[-1]} else None
    all_words = re.findall(r"\w+", said.lower())
    named = {spoken for spoken in all_words if spoken in words}
    return all_words[0] if len(named) == 1 and all_words[0] in words and "not" not in all_words else None


def field(reply: str, name: str, values: str, names: Sequence[str] = ()) -> str | None:
    """The value that follows the last ``name:`` of a reply; None where it is none of `values`, or not only one.

    Args:
        reply: what the model said.
        name: the field, in lower case.
        values: the characters that are values, one each, for example ``12345``.
        names: fields that may follow on the same line.
    """
    said = without_reasoning(reply)
    if said is None:
        return None
    others = "|".join(map(re.escape, names))
    stop = rf"[\"']?\b(?:{others})\b[\"'*_ ]{{0,4}}:" if others else r"\n"
    pieces = re.split(rf"\b{re.escape(name)}\b[\"'*_` ]{{0,4}}[:=]", said.lower())
    if len(pieces) == 1:
        return None
    value = re.split(stop, pieces[-1].lstrip().partition("\n")[0])[0].strip(_MARKUP)
    rest = re.sub(rf"^([{values}])(?: ?(?:/|out of) ?\d)?", "", value)
    is_explained = _CONDITION.match(rest) is not None
    is_one = value[:1] in set(values) and not re.search(r"\d|\bor\b", rest) and not rest[:1].isalnum()
    return value[0] if is_one and not is_explained else None


def tagged(reply: str, pattern: str) -> str | None:
    """The first group of the last match of a pattern, in lower case; None where there is none."""
    said = without_reasoning(reply)
    matches = re.findall(pattern, said, re.IGNORECASE | re.MULTILINE) if said is not None else []
    return str(matches[-1]).lower() if matches else None
