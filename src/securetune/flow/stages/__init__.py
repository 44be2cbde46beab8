"""Stages: what a run consists of, one file each; their order stands in `base.artifacts.STAGES`.

A stage offers `stage`, a `Stage`: which version of its result it writes, for which arms, what that depends on, and how
it is computed. The first line of its docstring is its help.
"""

from typing import TYPE_CHECKING

from securetune.base.registry import Registry

if TYPE_CHECKING:
    from securetune.flow.stages.base.stage import Stage

STAGE_FILES: "Registry[Stage]" = Registry(kind="stage", package="securetune.flow.stages", attribute="stage")
