"""The names that `securetune` offers: what signatures speak of is among them, and the reference documents them."""

import inspect
import typing
from pathlib import Path

import pytest

import securetune

OBJECTS = {name: getattr(securetune, name) for name in securetune.__all__ if name != "__version__"}
FUNCTIONS = {name: thing for name, thing in OBJECTS.items() if inspect.isfunction(thing)}
HOOKS = {
    f"{base.__name__}.{name}": method
    for base in (securetune.Defence, securetune.Judge, securetune.Attack)
    for name, method in vars(base).items()
    if inspect.isfunction(method)
}
SIGNATURES = FUNCTIONS | HOOKS


def classes(hint):
    """All classes in a type hint."""
    if isinstance(hint, list):  # the arguments of a callable
        return [cls for part in hint for cls in classes(part)]
    own = [hint] if inspect.isclass(hint) else []
    return own + [cls for part in typing.get_args(hint) for cls in classes(part)]


@pytest.mark.parametrize("name", SIGNATURES)
def test_every_class_of_ours_in_a_public_signature_is_public_too(name):
    hints = typing.get_type_hints(SIGNATURES[name])
    ours = {c for hint in hints.values() for c in classes(hint) if c.__module__.startswith("securetune.")}
    assert {c.__name__ for c in ours if OBJECTS.get(c.__name__) is not c} == set()


def test_the_reference_documents_every_public_name():
    reference = (Path(__file__).parents[2] / "docs/reference.md").read_text(encoding="utf-8").split()
    places = {name: (f"{thing.__module__}.{thing.__name__}", thing.__module__) for name, thing in OBJECTS.items()}
    assert [name for name, place in places.items() if not set(place) & set(reference)] == []
