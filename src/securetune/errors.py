"""Errors: every failure a caller can cause, each saying what was expected, what was found and what to do."""

from securetune.keys import without_keys


class SecuretuneError(Exception):
    """Base of all errors this package raises on purpose; the CLI prints them without a traceback.

    No key stands in its text, whatever it was made from.
    """

    def __init__(self, *parts: object) -> None:
        super().__init__(*(without_keys(part) if isinstance(part, str) else part for part in parts))


class ConfigError(SecuretuneError):
    """A run configuration cannot be used as written."""


class DataError(SecuretuneError):
    """A data file or data set does not have the expected rows."""


class ModelError(SecuretuneError):
    """A model or tokenizer cannot be loaded or used."""


class TopologyError(SecuretuneError):
    """The modules of a model could not be assigned to layers and roles."""


class ProbeError(SecuretuneError):
    """A probe cannot be fitted on the given prompts."""


class ScanError(SecuretuneError):
    """The scan cannot measure this model with these prompts."""


class PlanError(SecuretuneError):
    """A plan is malformed, matches nothing or belongs to another model."""


class TrainingError(SecuretuneError):
    """Training cannot start or has to stop."""


class ArtifactError(SecuretuneError):
    """A run folder holds something this version cannot read."""


class MachineError(SecuretuneError):
    """The machine refuses: its disk is full, a folder is missing or may not be written to, a file is in the way."""


class RegistryError(SecuretuneError):
    """No plug-in has the requested name."""


class PatternError(SecuretuneError):
    """A regular expression takes too long to match."""
