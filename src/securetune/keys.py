"""Keys: which parts of a text are secrets, and what stands in their place?

A key that gets into an error, a log or a file of results travels with it. Known forms are told by how they look, any
other by being the value of an environment variable that is named after a key.
"""

import os
import re

MASK = "[key taken out]"
_LOOKS = re.compile(
    r"(?P<address>(?<=://)[^\s/@'\"]+(?=@))"
    r"|(?P<token>\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[opsu]_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16})\b)"
    r"|(?P<header>(?<=Bearer )[\w.~+/=-]{6,}|(?<=Basic )[\w+/=-]{6,})"
    r"|(?P<field>(?<=api_key=)[^\s&'\"]+|(?<=access_token=)[^\s&'\"]+|(?<=password=)[^\s&'\"]+)",
    re.IGNORECASE,
)
_HOLDERS = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
SHORTEST = 8
"""Letters of the shortest value of a variable that counts: a shorter one may be any word."""


def without_keys(text: str) -> str:
    """The text with every secret in it taken out."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and _HOLDERS.search(name):
            text = text.replace(value, MASK)
    return _LOOKS.sub(MASK, text)


def looks_like_key(text: str) -> bool:
    """Whether there is something in the text that looks like a secret, whatever this machine's variables hold."""
    return _LOOKS.search(text) is not None
