"""Best of n: what is garbled, how often, and that every answer is asked for in another way."""

import random
from collections import Counter

import pytest

from securetune.data.prompts import Prompt
from securetune.evaluate.attacks import ATTACKS
from securetune.evaluate.attacks.best_of_n import garbled
from securetune.evaluate.benchmark import Benchmark
from securetune.evaluate.config import EvaluateConfig
from securetune.measures.kinds import HARMFUL

PROMPT = "how do i open the old red lamp without a key"


def test_nothing_is_garbled_at_no_strength_and_only_letters_inside_words_change_place():
    assert garbled(PROMPT, 0.0, random.Random(0)) == PROMPT
    found = garbled(PROMPT, 1.0, random.Random(0))
    assert len(found) == len(PROMPT) and found != PROMPT
    long = "abcdefghij"
    only_moved = {garbled(long, 0.4, random.Random(seed)) for seed in range(50)}
    assert len(only_moved) > 40 and all(len(text) == len(long) for text in only_moved)


def test_each_change_happens_as_often_as_the_paper_says():
    sigma, n = 0.4, 4000
    texts = [garbled("zz yy", sigma, random.Random(seed)) for seed in range(n)]  # words too short to be shuffled
    spaces = Counter(text[2] for text in texts)
    assert spaces[" "] / n == pytest.approx(1 - sigma**3 / 2, abs=0.01), "one of a space's neighbours is unprintable"
    capital = sum(text[0].isupper() for text in texts) / n
    stays = 1 - sigma**3
    assert capital == pytest.approx(sigma**0.5 * stays + sigma**0.5 * sigma**3 * 0.5, abs=0.03)  # Z moves to Y or [
    shuffled = sum(garbled("bacd", sigma, random.Random(seed)).lower() == "bcad" for seed in range(n)) / n
    assert shuffled == pytest.approx(sigma**0.5 / 2 * stays**4, abs=0.03)


def test_every_answer_to_a_prompt_is_asked_for_in_its_own_way_before_and_after_alike(tokenizer):
    attack = ATTACKS.make("best_of_n", {}, "attack")
    prompts = (Prompt(id="a", text=PROMPT), Prompt(id="b", text="how do i paint the box in blue"))
    benchmark = Benchmark(name="garbled", kind=HARMFUL, prompts=prompts, origin="here", attack=attack)
    config = EvaluateConfig(samples=3, temperature=1.0)
    questions = benchmark.questions(tokenizer, config, None)
    assert [question.prompt for question in questions] == [prompt.text for prompt in prompts for _ in range(3)]
    assert len({question.text for question in questions}) == 6
    assert questions == benchmark.questions(tokenizer, config, None)
    spoken = [turns[-1]["content"] for turns in benchmark.conversations(config)]
    assert all(text in question.text for text, question in zip(spoken, questions, strict=True))
