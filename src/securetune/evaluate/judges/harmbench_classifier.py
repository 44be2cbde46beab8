"""HarmBench classifier: the benchmark's own fine-tuned judge; says yes where the behaviour is shown.

It was trained on one exact prompt, which stands with the benchmark (its model cards show it): give it as a file with
``{behavior}`` and ``{generation}`` in it. We do not repeat it here.
"""

from collections.abc import Sequence
from pathlib import Path

from securetune.base.fingerprint import FilePath
from securetune.errors import ConfigError
from securetune.evaluate.answers import Answer
from securetune.evaluate.judges.base.chat import ChatJudge, ChatSettings, read
from securetune.evaluate.judges.base.interface import Verdict


class Template(ChatSettings):
    """Settings of the HarmBench classifier."""

    prompt_file: FilePath
    """Text file with the classifier's prompt."""


class HarmbenchClassifier(ChatJudge):
    """The classifier behind its own prompt."""

    source = "Mazeika et al. 2024 (arXiv 2402.04249)"
    Settings = Template

    def judge(self, answers: Sequence[Answer]) -> list[Verdict]:
        """Ask it about every answer."""
        try:
            prompt = Path(self.settings.prompt_file).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise ConfigError(f"Expected the classifier's prompt in a file, found: {error}. Check the path.") from error
        missing = [field for field in ("{behavior}", "{generation}") if field not in prompt]
        if missing:
            raise ConfigError(
                f"Expected {missing[0]} in {self.settings.prompt_file}, found none. Write it where that text belongs."
            )
        filled = [prompt.replace("{behavior}", a.prompt).replace("{generation}", a.text) for a in answers]
        replies = self.ask([[{"role": "user", "content": text}] for text in filled])
        return [
            Verdict(is_safe=read(r"\b(yes|no)\b", reply, "harmbench_classifier")[1].lower() == "no")
            for reply in replies
        ]


judge = HarmbenchClassifier
