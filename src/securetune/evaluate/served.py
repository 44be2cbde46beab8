"""Served: what does a model say that is behind an OpenAI-compatible endpoint?

An endpoint gives text alone: there is no margin, and whether an answer surprises the model before tuning nobody can
tell. Every answer is kept as it comes, so that a kill loses none that was there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from securetune.base.artifacts import Journal, digest
from securetune.base.progress import progress_bar
from securetune.data.reasoning import split_reasoning
from securetune.errors import ConfigError
from securetune.evaluate.answers import Answer, tell_of_cut
from securetune.evaluate.attacks.base.interface import Attack
from securetune.evaluate.benchmark import Benchmark
from securetune.evaluate.config import EndpointConfig, EvaluateConfig
from securetune.evaluate.drawing import draws
from securetune.evaluate.judges.base.endpoint import Conversation
from securetune.evaluate.service import service

_SAID = "said"
"""In the journal: the answer; null where the service refused to give any."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model behind an endpoint, and how it is asked."""

    path: str
    """The model, written ``http://host/v1#name``."""
    endpoint: EndpointConfig
    evaluate: EvaluateConfig
    variables: Mapping[str, Any]
    """Of the chat template, see `service`."""
    known: Journal
    """Answers of this very model that are there already; new ones are added as they come."""

    def answers(self, benchmark: Benchmark) -> list[Answer]:
        """Its answer to every prompt, in their order; an empty one where the service refuses to give any.

        Raises:
            ModelError: the service does not answer; what came before is kept.
        """
        waiting, longest = self._waiting(benchmark), benchmark.max_new_tokens(self.evaluate)
        temperature = benchmark.sampling(self.evaluate).temperature
        asked = service(
            self.path, self.endpoint, max_new_tokens=longest, variables=self.variables, temperature=temperature
        )
        places = list(waiting)
        with progress_bar() as bar:
            task = bar.add_task(benchmark.name, total=len(waiting))
            for place, reply in asked.replies(list(waiting.values())):
                self.known.keep(places[place], {_SAID: reply})
                bar.update(task, advance=1)
        said = [self.known.get(key)[_SAID] or "" for key in self._keys(benchmark)]
        prompts = benchmark.asked(self.evaluate)
        answers = [_answer(prompt.text, text) for prompt, text in zip(prompts, said, strict=True)]
        tell_of_cut(answers, benchmark.name, longest)
        return answers

    def silent(self, benchmarks: Sequence[Benchmark]) -> int:
        """To how many prompts of sets that were asked the service refused to give any answer."""
        return sum(self.known.get(key)[_SAID] is None for benchmark in benchmarks for key in self._keys(benchmark))

    def _waiting(self, benchmark: Benchmark) -> dict[str, Conversation]:
        """The conversations without an answer, each once, by the keys of their answers."""
        asked = zip(self._keys(benchmark), benchmark.conversations(self.evaluate), strict=True)
        return {key: conversation for key, conversation in asked if self.known.get(key) is None}

    def _keys(self, benchmark: Benchmark) -> list[str]:
        longest, asked = benchmark.max_new_tokens(self.evaluate), benchmark.conversations(self.evaluate)
        drawn = draws([json.dumps(turns) for turns in asked], benchmark.sampling(self.evaluate).temperature)
        return [
            digest(["served", turns, longest, *([draw.temperature, draw.number] if draw else [])])
            for turns, draw in zip(asked, drawn, strict=True)
        ]


def check_asked(benchmarks: Sequence[Benchmark]) -> None:
    """Make sure that the sets can be put to a model that takes messages and gives text.

    Raises:
        ConfigError: an attack begins the answer, or searches with the model's help.
    """
    for benchmark in benchmarks:
        attack = benchmark.attack or Attack(settings=None)
        if attack.searches or attack.prefill:
            does = "searches with the model's weights" if attack.searches else "begins the model's answer"
            raise ConfigError(
                f"Expected sets that can be put to an endpoint, found an attack on {benchmark.name} that {does}. Leave "
                "that set out, or give every model as a folder or Hub id."
            )


def _answer(prompt: str, said: str) -> Answer:
    spoken = split_reasoning(said)
    return Answer(prompt=prompt, text=spoken.answer, reasoning=spoken.reasoning, is_cut=spoken.is_cut)
