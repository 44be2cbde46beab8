"""Template: every prompt goes into a text of the user's, for jailbreaks in the wild.

The package ships none; published collections can be used as they are.
"""

from collections.abc import Sequence

from securetune.base.fingerprint import FilePath
from securetune.base.texts import read_text
from securetune.errors import ConfigError
from securetune.evaluate.attacks.base.interface import Attack, Settings

_PLACE = "{prompt}"


class File(Settings):
    """Settings of the template attack."""

    path: FilePath
    """Text file with ``{prompt}`` in it."""


class Template(Attack):
    """One text around every prompt."""

    paper = "the user's file"
    Settings = File

    def prompts(self, prompts: Sequence[str]) -> list[str]:
        """The file's text with the prompt in its place.

        Raises:
            ConfigError: no such file, or no place in it.
        """
        text = read_text(self.settings.path, "a text file for the attack", ConfigError)
        if _PLACE not in text:
            raise ConfigError(f"Expected {_PLACE} in {self.settings.path}, found none. Write it where the prompt goes.")
        return [text.replace(_PLACE, prompt) for prompt in prompts]


attack = Template
