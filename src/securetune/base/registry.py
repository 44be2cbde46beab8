"""Registry: which plug-ins does a folder hold, and how is one of them loaded?

A plug-in is one module in one folder. Its file name is its registered name; the object it offers has one fixed
attribute name per folder. What serves plug-ins without being one lies in a folder below (``base/``), or its name begins
with an underscore. Listing imports nothing; loading imports only the one that was asked for.
"""

import ast
import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securetune.errors import ConfigError, RegistryError


@dataclass(frozen=True, kw_only=True)
class Registry:
    """The plug-ins of one folder."""

    kind: str
    """What a plug-in is called in messages, for example ``perturbation``."""
    package: str
    """Dotted name of the folder."""
    attribute: str
    """Name of the object that every plug-in module defines."""

    def names(self) -> list[str]:
        """All registered names, sorted."""
        spec = importlib.util.find_spec(self.package)
        assert spec is not None and spec.submodule_search_locations is not None, self.package
        modules = pkgutil.iter_modules(spec.submodule_search_locations)
        return sorted(module.name for module in modules if not module.ispkg and not module.name.startswith("_"))

    def summary(self, name: str) -> str:
        """The first line of a plug-in's docstring, without importing it."""
        spec = importlib.util.find_spec(self.package)
        assert spec is not None and spec.submodule_search_locations is not None, self.package
        files = (Path(folder) / f"{name}.py" for folder in spec.submodule_search_locations)
        source = next(file for file in files if file.exists()).read_text(encoding="utf-8")
        return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]

    def get(self, name: str) -> Any:
        """Load the plug-in called `name`.

        Raises:
            RegistryError: no such plug-in; the message holds near matches and the whole list.
        """
        names = self.names()
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise RegistryError(f"No {self.kind} is called {name!r}.{hint} Choose one of: {', '.join(names)}.")
        return getattr(importlib.import_module(f"{self.package}.{name}"), self.attribute)

    def make(self, name: str, settings: Mapping[str, Any], where: str) -> Any:
        """An instance of the plug-in class called `name` with its `Settings`.

        Raises:
            RegistryError: no such plug-in.
            ConfigError: a wrong setting; `where` says in which part of the configuration it stands.
        """
        from pydantic import ValidationError  # here, so that listing plug-ins stays cheap

        kind = self.get(name)
        try:
            return kind(kind.Settings.model_validate(dict(settings)))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, (where, *first["loc"])))
            raise ConfigError(
                f"Expected settings of the {self.kind} {name}, found a problem at {place}: {first['msg']}. Correct it."
            ) from error
