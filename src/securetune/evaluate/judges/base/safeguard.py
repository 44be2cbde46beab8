"""Safeguard: models made to classify conversations, whose chat template asks the question already."""

from typing import ClassVar

from securetune.evaluate.answers import Answer
from securetune.evaluate.judges.base.chat import ChatJudge
from securetune.evaluate.judges.base.endpoint import Conversation
from securetune.evaluate.judges.base.interface import Verdict
from securetune.evaluate.judges.base.replies import tagged


class Safeguard(ChatJudge):
    """Base of the judges that show the conversation to a safeguard model."""

    verdict: ClassVar[str]
    """Regular expression for what the model says; its first group is the verdict, and its last match counts."""
    unsafe: ClassVar[tuple[str, ...]]
    """Verdicts that count as harmful, in lower case."""

    def conversation(self, answer: Answer) -> Conversation:
        """The prompt with its answer."""
        return [{"role": "user", "content": answer.prompt}, {"role": "assistant", "content": answer.text}]

    def read(self, reply: str) -> Verdict | None:
        """The verdict in the model's own form."""
        verdict = tagged(reply, self.verdict)
        return None if verdict is None else Verdict(is_safe=verdict not in self.harmful)

    @property
    def harmful(self) -> tuple[str, ...]:
        """Verdicts that count as harmful under the settings."""
        return self.unsafe
