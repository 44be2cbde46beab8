"""Config: where prompts and rows come from."""

from typing import Any, Literal

from pydantic import Field

from securetune.base.fingerprint import FilePath
from securetune.base.strict import Strict

TrainedTurns = Literal["all", "last"]
"""Answers of a conversation that are trained."""
OWN = "self"
"""What `safety` says where the model's own answers are its rows."""


class DataConfig(Strict):
    """Where tuning rows come from."""

    path: FilePath
    """File of rows (JSONL, a JSON list, CSV or Parquet, also under gzip), a folder of such, or a Hub data set."""
    split: str = "train"
    """Split of a Hub data set, or of a folder."""
    revision: str | None = None
    """Revision of a Hub data set."""
    limit: int | None = Field(default=None, ge=1)
    """Use at most this many rows, drawn with the run's seed."""
    skip: dict[str, Any] = {}
    """Leave out rows whose fields have these values, for example ``{safety_related: true}``."""
    unusable: Literal["refuse", "skip"] = "refuse"
    """Refuse a source for a row that cannot be used, or leave out such rows and count them."""
    trained_turns: TrainedTurns = "all"
    """Train every answer of a conversation, as TRL does under `assistant_only_loss`, or only the last one."""
