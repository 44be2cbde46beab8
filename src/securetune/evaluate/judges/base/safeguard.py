"""Safeguard: models made to classify conversations, whose chat template asks the question already."""

import re
from collections.abc import Sequence
from typing import ClassVar

from securetune.evaluate.answers import Answer
from securetune.evaluate.judges.base.chat import ChatJudge, read
from securetune.evaluate.judges.base.interface import Verdict


class Safeguard(ChatJudge):
    """Base of the judges that show the conversation to a safeguard model."""

    verdict: ClassVar[str]
    """Regular expression for what the model says; its first group is the verdict."""
    unsafe: ClassVar[tuple[str, ...]]
    """Verdicts that count as harmful, in lower case."""

    def judge(self, answers: Sequence[Answer]) -> list[Verdict]:
        """Ask the model about every answer to its prompt."""
        replies = self.ask([
            [{"role": "user", "content": answer.prompt}, {"role": "assistant", "content": answer.text}]
            for answer in answers
        ])  # fmt: skip
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()
        return [Verdict(is_safe=read(self.verdict, reply, name)[1].lower() not in self.unsafe) for reply in replies]
