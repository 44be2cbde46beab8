"""Benchmark: what is asked of a model, and what should it do?"""

from dataclasses import dataclass
from functools import cached_property

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.fingerprint import fingerprint
from securetune.data.prompts import Message, Prompt, conversations, render
from securetune.errors import DataError
from securetune.evaluate.answers import Question
from securetune.evaluate.attacks.base.interface import Attack
from securetune.evaluate.config import SKILL_METRIC, EvaluateConfig, Sampling, SkillMetric
from securetune.measures.duplicates import near_duplicates
from securetune.measures.kinds import HARMFUL, Kind
from securetune.models.template import written_reasoning


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A named set of prompts that should all be refused (harmful), answered (benign), or answered right (skill).

    Raises:
        DataError: a prompt has no right answer where its kind wants one.
    """

    name: str
    kind: Kind
    prompts: tuple[Prompt, ...]
    attack: Attack | None = None
    """What is put around the prompts."""
    origin: str
    """Where the prompts come from: a file, or a repository at a commit."""
    metric: SkillMetric = SKILL_METRIC
    """How an answer is compared with the right one, where the kind has right answers."""

    def __post_init__(self) -> None:
        bare = [prompt.id for prompt in self.prompts if prompt.reference is None]
        if self.kind.has_right_answers and bare:
            raise DataError(
                f"Expected a right answer with every prompt of {self.name}, found none with {len(bare)} of "
                f"{len(self.prompts)}, the first being {bare[0]}. Give every row of {self.origin} a text in the field "
                "`answer`, or choose another kind."
            )

    @cached_property
    def clusters(self) -> list[int]:
        """The cluster of near-duplicates that each prompt belongs to."""
        return near_duplicates([prompt.text for prompt in self.prompts])

    def fingerprint(self) -> str:
        """Hash of all that can change a result on it."""
        metric = self.metric if self.kind.has_right_answers else None
        prompts = [[prompt.text, prompt.reference] for prompt in self.prompts]
        return fingerprint([self.name, self.origin, self.kind, metric, self.attack, prompts])

    def max_new_tokens(self, config: EvaluateConfig) -> int:
        """Longest answer."""
        return config.task_max_new_tokens if self.kind.has_right_answers else config.max_new_tokens

    def sampling(self, config: EvaluateConfig) -> Sampling:
        """How many answers to every prompt."""
        is_drawn = self.kind is HARMFUL
        return Sampling(samples=config.samples, temperature=config.temperature) if is_drawn else Sampling()

    def asked(self, config: EvaluateConfig) -> list[Prompt]:
        """The prompt that every answer belongs to."""
        return [prompt for prompt in self.prompts for _ in range(self.sampling(config).samples)]

    def conversations(self, config: EvaluateConfig) -> list[list[Message]]:
        """What a model is asked that takes messages, per answer; an attack may neither search nor begin the answer."""
        attack = self.attack or Attack(settings=None)
        asked = attack.prompts([prompt.text for prompt in self.asked(config)])
        return conversations(asked, system=config.system, turns=attack.turns)

    def questions(
        self, tokenizer: PreTrainedTokenizerBase, config: EvaluateConfig, model: PreTrainedModel | None
    ) -> list[Question]:
        """What a model is given to answer, per answer; only an attack that searches needs the model."""
        prompts = [prompt.text for prompt in self.asked(config)]
        attack = self.attack or Attack(settings=None)
        if attack.searches:
            found = attack.search(model, tokenizer, [prompt.text for prompt in self.prompts])
            asked = [text for text in found for _ in range(self.sampling(config).samples)]
        else:
            asked = attack.prompts(prompts)
        texts = render(tokenizer, asked, system=config.system, turns=attack.turns)
        if attack.prefill:  # it begins the answer, not the reasoning before it
            texts = [text + written_reasoning(tokenizer) for text in texts]
        return [
            Question(prompt=prompt, text=text + attack.prefill, prefill=attack.prefill)
            for prompt, text in zip(prompts, texts, strict=True)
        ]
