"""Sections: what does a reader of the report see, one after the other?

A plug-in is ``<number>_<name>.py`` with ``<number>_<name>.html`` beside it; the number gives the order. It offers
`section`, a `Section`. Its markup is a Jinja template that sees what the section's `data` returned, as ``data``, and
its figures by name, as ``figures``.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from securetune.base.artifacts import digest, digest_path
from securetune.base.registry import Registry
from securetune.errors import RegistryError

if TYPE_CHECKING:
    from securetune.report.reading import Run
    from securetune.report.sections.base.section import Section

SECTIONS: "Registry[Section]" = Registry(
    kind="report section", package="securetune.report.sections", attribute="section"
)


def in_order() -> list[str]:
    """The names of all sections, as the report shows them.

    Raises:
        RegistryError: a name does not begin with a number, or there is no markup beside it.
    """
    names = SECTIONS.names()
    for name in names:
        if not name.partition("_")[0].isdigit():
            raise RegistryError(
                f"Expected a report section called <number>_<name>, found {name!r}. Begin with a number: it says where "
                "the section stands."
            )
        if not any((folder / f"{name}.html").exists() for folder in folders()):
            raise RegistryError(
                f"Expected the markup of the report section {name} beside it, found no {name}.html. Write it."
            )
    return sorted(names, key=lambda name: (int(name.partition("_")[0]), name))


def shown(run: "Run") -> "dict[str, Section]":
    """The sections, in order, that show something that the run has done."""
    sections: dict[str, Section] = {name: SECTIONS.get(name) for name in in_order()}
    return {name: section for name, section in sections.items() if all(map(run.has, section.stages))}


def folders() -> list[Path]:
    """Where sections lie."""
    spec = importlib.util.find_spec(SECTIONS.package)
    assert spec is not None and spec.submodule_search_locations is not None, SECTIONS.package
    return [Path(folder) for folder in spec.submodule_search_locations]


def sections_digest() -> str:
    """Hash of every section's code and markup, and of the page around them: another one makes another report."""
    files = [
        file for folder in folders() for kind in ("py", "html", "css") for file in sorted(folder.rglob(f"*.{kind}"))
    ]
    return digest([(file.name, digest_path(file)) for file in files])
