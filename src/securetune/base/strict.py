"""Strict: what is not accepted of settings that a user writes, whatever they are about?"""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Base of all settings: an unknown field is an error, so is a number that is not finite, and none is changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
