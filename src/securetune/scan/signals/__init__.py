"""Signals: in which numbers is safety read off the last prompt token?

A plug-in is an instance of `Signal` or of one of its kinds; which kind decides the scan methods that can use it. Every
signal is high when the model is safe; none needs generated text. All of them are measured side by side, never averaged.
"""

from typing import TYPE_CHECKING

from securetune.base.registry import Registry

if TYPE_CHECKING:
    from securetune.scan.signals.base.interface import Signal

SIGNALS: "Registry[Signal]" = Registry(
    kind="signal",
    package="securetune.scan.signals",
    attribute="signal",
    expects="securetune.scan.signals.base.interface:Signal",
)
