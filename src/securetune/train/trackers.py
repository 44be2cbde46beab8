"""Trackers: where do the losses of a training go besides our own log, and is what takes them there installed?

They are transformers' own callbacks; they read what the trainer logs and change no result.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from transformers.integrations import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations

from securetune.base.near import did_you_mean
from securetune.errors import ConfigError

_FOLDER = "TENSORBOARD_LOGGING_DIR"
"""The variable that TensorBoard's callback reads; without it the curves would go with the checkpoints."""
_NOT_ASKED = ("azure_ml", "flyte")
"""Trackers of which transformers does not say whether they are there."""


def check_trackers(names: Sequence[str]) -> None:
    """Make sure that trackers are known and installed.

    Raises:
        ConfigError: one is not.
    """
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            hint = did_you_mean(name, INTEGRATION_TO_CALLBACK)
            raise ConfigError(
                f"Expected a tracker of transformers in train.report_to, found {name!r}.{hint} Choose of: "
                f"{', '.join(sorted(INTEGRATION_TO_CALLBACK))}."
            )
        if name not in (*_NOT_ASKED, *get_available_reporting_integrations()):
            raise ConfigError(
                f"Expected {name} for train.report_to, found that it is not installed. Install it: pip install "
                f"{name.replace('_', '-')}. Or leave it out of train.report_to."
            )


@contextmanager
def curves_beside(output: Path) -> Iterator[None]:
    """Let TensorBoard's curves of a training lie in ``trackers`` beside its model, or where its variable says."""
    before = os.environ.get(_FOLDER)
    os.environ[_FOLDER] = str((Path(before) if before else output.parent / "trackers") / output.name)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FOLDER]
        else:
            os.environ[_FOLDER] = before
