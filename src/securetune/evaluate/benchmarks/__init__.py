"""Benchmarks: public sets of prompts, and where they come from.

A plug-in offers `benchmark`, a `Source`. The sets themselves are not in the package: they are read from the Hub, from a
file or from a folder of files. What stands in a plug-in are a few harmless rows of the same form, for tests.
"""

from typing import TYPE_CHECKING

from securetune.base.registry import Registry

if TYPE_CHECKING:
    from securetune.evaluate.benchmarks.base.source import Source

BENCHMARKS: "Registry[Source]" = Registry(
    kind="benchmark",
    package="securetune.evaluate.benchmarks",
    attribute="benchmark",
    expects="securetune.evaluate.benchmarks.base.source:Source",
)
