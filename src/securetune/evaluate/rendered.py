"""Rendered: what becomes of a set's prompts on their way to the model, and is there room for them and their answers?

Attack, system prompt and the beginning of the answer are counted in; no weights are needed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from securetune.data.prompts import PromptSet
from securetune.data.rendering import PromptsFound, check_prompts, longest_text
from securetune.evaluate.attacks.base.interface import Attack
from securetune.evaluate.benchmark import Benchmark
from securetune.evaluate.config import EvaluateConfig


def check_benchmark(
    tokenizer: Any, benchmark: Benchmark, config: EvaluateConfig, systems: Sequence[str | None]
) -> PromptsFound:
    """Render and tokenize every prompt of a set as the evaluation asks it.

    Args:
        tokenizer: the model's tokenizer.
        benchmark: the set; of an attack that searches, the prompts from which it starts are taken.
        config: how answers are generated.
        systems: system prompts in use; None for none.

    Raises:
        DataError: the template refuses a prompt, or leaves out what the user or the system prompt says.
    """
    attack = benchmark.attack or Attack(settings=None)
    texts = [prompt.text for prompt in benchmark.prompts]
    asked = texts if attack.searches else attack.prompts(texts)
    found = check_prompts(tokenizer, benchmark.name, asked, systems=systems, turns=attack.turns)
    begun = longest_text(tokenizer, [attack.prefill]) if attack.prefill else 0
    return replace(found, longest=found.longest + begun, answer=benchmark.max_new_tokens(config))


def check_analysis(tokenizer: Any, prompts: PromptSet) -> list[PromptsFound]:
    """Render and tokenize the prompts of the analysis, each kind as a set of its own.

    Raises:
        DataError: the template refuses a prompt, or leaves out what the user says.
    """
    sides = {"malicious": prompts.malicious, "benign": prompts.benign}
    return [check_prompts(tokenizer, f"analysis, {side}", [p.text for p in sides[side]]) for side in sides]


def room_faults(architecture: Any, rows: Mapping[str, int], prompts: Iterable[PromptsFound], answer: int) -> list[str]:
    """What is longer than the model can read.

    Args:
        architecture: the model's configuration.
        rows: tokens of the longest row of every source, by its name.
        prompts: the sets of prompts.
        answer: tokens of the longest answer, where a set does not say.
    """
    room = getattr(architecture.get_text_config(), "max_position_embeddings", None)
    if room is None:
        return []
    longest = {**rows, **{found.name: found.longest + (found.answer or answer) for found in prompts}}
    return [
        f"{name} needs {tokens:,} tokens with its answer, and the model has places for {room:,}"
        for name, tokens in longest.items()
        if tokens > room
    ]
