"""Registry: which plug-ins are there, and how is one of them loaded?

Ours are one module each in one folder. The file's name is the registered name; the object it offers has one fixed
attribute name per folder. What serves plug-ins without being one lies in a folder below (``base/``), or its name begins
with an underscore. Besides ours there are those that installed distributions offer, and any file of the user's
(see `outside`). Listing imports nothing; loading imports only the one that was asked for.
"""

import ast
import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

from securetune.base.artifacts import digest_path
from securetune.base.near import did_you_mean
from securetune.base.outside import file_of, load_entry_point, load_file, offered
from securetune.errors import ConfigError, RegistryError


class Configured(Protocol):
    """A plug-in that is made with settings of its own."""

    Settings: ClassVar[Any]

    def __init__(self, settings: Any) -> None: ...


P = TypeVar("P")
C = TypeVar("C", bound=Configured)


@dataclass(frozen=True, kw_only=True)
class Registry(Generic[P]):
    """The plug-ins of one folder, and those from outside that stand beside them."""

    kind: str
    """What a plug-in is called in messages, for example ``perturbation``."""
    package: str
    """Dotted name of the folder."""
    attribute: str
    """Name of the object that every plug-in module defines."""
    expects: str | None = None
    """What a plug-in is an instance of, as ``module:Name``; None closes the folder to plug-ins from outside."""

    @property
    def group(self) -> str:
        """The entry points by which another distribution offers plug-ins."""
        return f"securetune.{self.kind}{'es' if self.kind.endswith('ch') else 's'}"

    def names(self) -> list[str]:
        """All registered names, sorted.

        Raises:
            RegistryError: a distribution offers one under a name that is taken.
        """
        return sorted({*self._own(), *self._offered()})

    def summary(self, name: str) -> str:
        """The first line of the docstring of one of our plug-ins, without importing it; of others, that they are."""
        files = (Path(folder) / f"{name}.py" for folder in self._folders())
        file = next((file for file in files if file.exists()), None)
        if file is None:
            return "A plug-in of another distribution."
        source = file.read_text(encoding="utf-8")
        return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]

    def get(self, name: str) -> P:
        """Load the plug-in called `name`, or the one in a file that ``path/to/mine.py:Name`` names.

        Raises:
            RegistryError: no such plug-in; the message holds near matches and the whole list.
        """
        if self.expects is not None and file_of(name) is not None:
            return self._checked(load_file(self.kind, name), name)
        if name in self._offered():
            return self._checked(load_entry_point(self.kind, self._offered()[name]), name)
        self.check(name)
        ours: P = getattr(importlib.import_module(f"{self.package}.{name}"), self.attribute)
        return ours

    def check(self, name: str) -> None:
        """Check that there is a plug-in called `name`, without importing it; one's own file is not opened.

        Raises:
            RegistryError: no such plug-in; the message holds near matches and the whole list.
        """
        names = self.names()
        if name not in names and (self.expects is None or file_of(name) is None):
            hint = did_you_mean(name, names)
            own = "" if self.expects is None else " Your own is called path/to/mine.py:Name."
            raise RegistryError(f"No {self.kind} is called {name!r}.{hint} Choose one of: {', '.join(names)}.{own}")

    def fingerprint(self, name: str) -> str:
        """What tells a plug-in from another in stored results: its name, and the content of a file of the user's."""
        path = file_of(name)
        return name if path is None or not path.is_file() else f"{name} {digest_path(path)}"

    def _folders(self) -> list[str]:
        spec = importlib.util.find_spec(self.package)
        assert spec is not None and spec.submodule_search_locations is not None, self.package
        return list(spec.submodule_search_locations)

    def _own(self) -> frozenset[str]:
        modules = pkgutil.iter_modules(self._folders())
        return frozenset(module.name for module in modules if not module.ispkg and not module.name.startswith("_"))

    def _offered(self) -> Mapping[str, EntryPoint]:
        return {} if self.expects is None else offered(self.kind, self.group, self._own())

    def _checked(self, plugin: object, name: str) -> P:
        assert self.expects is not None, "a closed folder loads nothing from outside"
        module, _, base = self.expects.partition(":")
        if not self._fits(plugin, getattr(importlib.import_module(module), base)):
            wanted = f"{self._ARTICLE} {base}"
            raise RegistryError(f"Expected {wanted} for the {self.kind} {name}, found {plugin!r}. Name {wanted}.")
        return cast(P, plugin)

    _ARTICLE: ClassVar[str] = "a"

    @staticmethod
    def _fits(plugin: object, base: type) -> bool:
        return isinstance(plugin, base)


@dataclass(frozen=True, kw_only=True)
class ClassRegistry(Registry[type[C]], Generic[C]):
    """A registry whose plug-ins are classes with `Settings`; `expects` names the class they are subclasses of."""

    def make(self, name: str, settings: Mapping[str, Any], where: str) -> C:
        """An instance of the plug-in class called `name` with its `Settings`.

        Raises:
            RegistryError: no such plug-in.
            ConfigError: a wrong setting; `where` says in which part of the configuration it stands.
        """
        from pydantic import ValidationError  # here, so that listing plug-ins stays cheap

        from securetune.base.problems import misread

        kind = self.get(name)
        try:
            read = kind.Settings.model_validate(dict(settings))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, (where, *first["loc"])))
            raise ConfigError(
                f"Expected settings of the {self.kind} {name}, found a problem at {place}: {first['msg']}. Correct it."
            ) from error
        for place, value in misread(settings, read.model_dump()):
            raise ConfigError(
                f"Expected settings of the {self.kind} {name}, found a problem at {where}.{place}: expected a number, "
                f"found {value}. Correct it."
            )
        return kind(read)

    _ARTICLE: ClassVar[str] = "a subclass of"

    @staticmethod
    def _fits(plugin: object, base: type) -> bool:
        return isinstance(plugin, type) and issubclass(plugin, base)
