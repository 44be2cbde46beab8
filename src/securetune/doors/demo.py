"""Demo: what would `securetune tune` be asked on the embedded model?"""

from pathlib import Path

from securetune.doors.tune import Request
from securetune.testbed.demo import demo_settings

_PARTS = ("analysis", "benchmarks", "evaluate", "task", "train")
"""What is asked of the embedded model in its own language, and how long it takes to learn."""


def demo_request(task: str, output: Path, seed: int) -> Request:
    """The request; the model and its rows are made where they are not there yet.

    Raises:
        ConfigError: no such task.
    """
    unresolved = demo_settings(task, output, seed)  # before torch is loaded, so that a mistake is answered at once
    from securetune.models.libraries import quiet_libraries
    from securetune.testbed.build import resolve

    quiet_libraries()
    settings = resolve(unresolved, seed)
    return Request(
        model=settings["model"],
        rows=settings["task"]["train"]["path"],
        output=output,
        seed=seed,
        settings={name: settings[name] for name in _PARTS},
    )
