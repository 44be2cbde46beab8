"""HarmBench classifier: the benchmark's own fine-tuned judge; says yes where the behaviour is shown.

It was trained on one exact prompt, which stands with the benchmark (its model cards show it): give it as a file with
``{behavior}`` and ``{generation}`` in it. We do not repeat it here.
"""

import re
from functools import cached_property

from securetune.base.fingerprint import FilePath
from securetune.base.places import expanded
from securetune.base.texts import read_text
from securetune.errors import ConfigError
from securetune.evaluate.answers import Answer
from securetune.evaluate.judges.base.chat import ChatJudge, ChatSettings
from securetune.evaluate.judges.base.endpoint import Conversation
from securetune.evaluate.judges.base.interface import Verdict
from securetune.evaluate.judges.base.replies import word


class Template(ChatSettings):
    """Settings of the HarmBench classifier."""

    prompt_file: FilePath
    """Text file with the classifier's prompt."""


class HarmbenchClassifier(ChatJudge):
    """The classifier behind its own prompt."""

    source = "Mazeika et al. 2024 (arXiv 2402.04249)"
    Settings = Template

    form = "`yes` or `no`"

    def check(self) -> None:
        """Read the prompt, and ask the endpoint once."""
        _ = self.prompt
        super().check()

    @cached_property
    def prompt(self) -> str:
        """The classifier's prompt.

        Raises:
            ConfigError: the file cannot be read, or lacks a field.
        """
        prompt = read_text(expanded(self.settings.prompt_file), "a text file with the classifier's prompt", ConfigError)
        missing = [field for field in ("{behavior}", "{generation}") if field not in prompt]
        if missing:
            raise ConfigError(
                f"Expected {missing[0]} in {self.settings.prompt_file}, found none. Write it where that text belongs."
            )
        return prompt

    def conversation(self, answer: Answer) -> Conversation:
        """The prompt, filled."""
        fields = {"{behavior}": answer.prompt, "{generation}": answer.text}
        filled = re.sub(r"\{behavior\}|\{generation\}", lambda field: fields[field[0]], self.prompt)
        return [{"role": "user", "content": filled}]

    def read(self, reply: str) -> Verdict | None:
        """Yes means that the behaviour is shown."""
        verdict = word(reply, ("yes", "no"))
        return None if verdict is None else Verdict(is_safe=verdict == "no")


judge = HarmbenchClassifier
