"""Documented: what does the docstring under a field say?

The text is read from the source, so that a field's documentation stands in one place.
"""

import ast
import inspect
import re
import textwrap
from itertools import pairwise


def field_docs(kind: type) -> dict[str, str]:
    """The docstring under each field of a class, and of those of ours that it is made from; one line each."""
    texts: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        if not part.__module__.startswith("securetune."):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in pairwise(definition.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and (text := _text(below)):
                texts[field.target.id] = text
    return texts


def first_sentence(text: str) -> str:
    """A docstring's first sentence on one line."""
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", " ".join(text.split()), maxsplit=1)[0]


def _text(statement: ast.stmt) -> str | None:
    is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    value = statement.value.value if is_text else None  # type: ignore[attr-defined]
    return " ".join(value.split()) if isinstance(value, str) else None
