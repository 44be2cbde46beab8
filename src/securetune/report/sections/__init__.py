"""Sections: what does a reader of the report see, one after the other?

A plug-in is ``<number>_<name>.py`` with ``<number>_<name>.html`` beside it; the number gives the order. It offers
`section`, a `Section`. Its markup is a Jinja template that sees what the section's `data` returned, as ``data``, and
its figures by name, as ``figures``.
"""

import importlib.util
from pathlib import Path

from securetune.base.artifacts import digest, digest_path
from securetune.base.registry import Registry

SECTIONS = Registry(kind="report section", package="securetune.report.sections", attribute="section")


def in_order() -> list[str]:
    """The names of all sections, as the report shows them."""
    return sorted(SECTIONS.names(), key=lambda name: (int(name.partition("_")[0]), name))


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
