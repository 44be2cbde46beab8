"""Catalogue: what is there to choose from, and what does each choice need, cost and leave to be set?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from securetune.base.registry import Registry
from securetune.defences import DEFENCES
from securetune.errors import ConfigError
from securetune.evaluate.attacks import ATTACKS
from securetune.evaluate.benchmarks import BENCHMARKS
from securetune.evaluate.judges import JUDGES
from securetune.evaluate.judges.base.labelled import in_words
from securetune.perturb import PERTURBATIONS
from securetune.scan.signals import SIGNALS
from securetune.search import SEARCHES


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One plug-in, as a list shows it."""

    name: str
    """What a configuration calls it."""
    summary: str
    """The first line of its file."""
    facts: tuple[str, ...]
    """What it needs, what it costs, what can be set: a line each."""


def kinds() -> tuple[str, ...]:
    """The kinds of plug-ins."""
    return tuple(_KINDS)


def listed(kind: str) -> list[Listed]:
    """All plug-ins of a kind.

    Raises:
        ConfigError: no such kind.
    """
    if kind not in _KINDS:
        raise ConfigError(f"Expected one of {', '.join(_KINDS)} to list, found {kind!r}. Choose one of them.")
    registry, facts = _KINDS[kind]
    return [
        Listed(name=name, summary=registry.summary(name), facts=tuple(facts(name, registry)))
        for name in registry.names()
    ]


def _of_defence(name: str, registry: Registry[Any]) -> Iterator[str]:
    defence = registry.get(name)
    yield f"needs: {', '.join(map(str, defence.needs)) or 'nothing beyond the rows'}"
    yield f"cost: {defence.cost}"
    yield f"source: {defence.paper}"
    yield from _settings(defence.Settings)


def _of_judge(name: str, registry: Registry[Any]) -> Iterator[str]:
    yield in_words(name)
    yield from _settings(registry.get(name).Settings)


def _of_benchmark(name: str, registry: Registry[Any]) -> Iterator[str]:
    source = registry.get(name)
    yield f"kind: {source.kind.name}; licence: {source.licence}; source: {source.paper}"
    yield f"read from: {source.dataset}, or a file {source.file}"


def _of_attack(name: str, registry: Registry[Any]) -> Iterator[str]:
    attack = registry.get(name)
    yield f"needs: {'the model under attack' if attack.searches else 'nothing'}; source: {attack.paper}"
    yield from _settings(attack.Settings)


def _of_perturbation(name: str, registry: Registry[Any]) -> Iterator[str]:
    yield f"needs: {'short tuning runs' if registry.get(name).needs_tuning else 'nothing'}"


def _nothing(name: str, registry: Registry[Any]) -> Iterator[str]:
    del name, registry
    yield from ()


def _settings(kind: type[BaseModel]) -> Iterator[str]:
    """What can be set, with its default."""
    fields = kind.model_fields.items()
    texts = [
        f"{name} (required)" if field.is_required() else f"{name} = {field.get_default()!r}" for name, field in fields
    ]
    if texts:
        yield f"settings: {', '.join(texts)}"


_KINDS: dict[str, tuple[Registry[Any], Callable[[str, Registry[Any]], Iterator[str]]]] = {
    "attacks": (ATTACKS, _of_attack),
    "benchmarks": (BENCHMARKS, _of_benchmark),
    "defences": (DEFENCES, _of_defence),
    "judges": (JUDGES, _of_judge),
    "perturbations": (PERTURBATIONS, _of_perturbation),
    "searches": (SEARCHES, _nothing),
    "signals": (SIGNALS, _nothing),
}
