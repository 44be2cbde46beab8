"""Drawn answers: several to one prompt, the same ones whatever the batch, and what is made of them together."""

import json
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch

import securetune
from securetune.base.artifacts import Journal
from securetune.data.prompts import Prompt, render
from securetune.errors import ConfigError
from securetune.evaluate.answers import Answer
from securetune.evaluate.assess import assess
from securetune.evaluate.benchmark import Benchmark
from securetune.evaluate.config import EvaluateConfig, Sampling
from securetune.evaluate.drawing import chosen, draws
from securetune.evaluate.generation import Decoding, generate
from securetune.evaluate.judging import judge_benchmark, judges_of
from securetune.evaluate.result import Share
from securetune.evaluate.vllm_engine import requests
from securetune.measures.kinds import BENIGN, HARMFUL
from securetune.models.openings import Openings
from tests.conftest import settings as run_settings

OPENINGS = Openings(refusal=(5, 6), affirmative=(7, 8))
PROMPTS = [f"how do i {verb} the {thing}" for verb in ("open", "break", "paint") for thing in ("box", "old red lamp")]
DRAWN = Decoding(max_new_tokens=10, batch_size=4, openings=OPENINGS, temperature=1.0)


class Fixed(random.Random):
    """Gives one number, again and again."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def random(self):
        return self.number


def test_a_token_is_drawn_with_its_share_and_an_impossible_one_never():
    logits = torch.tensor([0.5, 0.0, 0.3, 0.2, 0.0]).log()
    for number, token in ((0.0, 0), (0.49, 0), (0.51, 2), (0.79, 2), (0.81, 3), (1.0, 3)):
        assert chosen(logits[None], [Fixed(number)], 1.0).item() == token, number
    numbers = draws(["a"], 0.5)[0].numbers()
    counts = Counter(chosen(logits[None], [numbers], 0.5).item() for _ in range(3000))
    wanted = {0: 0.25 / 0.38, 2: 0.09 / 0.38, 3: 0.04 / 0.38}  # squares, at a temperature of a half
    assert {token: count / 3000 for token, count in counts.items()} == pytest.approx(wanted, abs=0.03)


def test_answers_do_not_depend_on_the_batch_differ_within_a_prompt_and_cool_down_to_the_greedy_one(
    model, tokenizer, tmp_path
):
    texts = [text for text in render(tokenizer, PROMPTS) for _ in range(3)]
    known = Journal(tmp_path / "known.jsonl")
    found = generate(model, tokenizer, texts, replace(DRAWN, known=known))
    assert generate(model, tokenizer, texts, replace(DRAWN, batch_size=64)) == found
    assert len({answer.text for answer in found[:3]}) == 3, "a prompt is given one answer three times"
    assert len({round(answer.margin, 4) for answer in found[:3]}) == 1, "the margin is the prompt's, not the answer's"
    lines = known_lines(tmp_path)
    assert generate(model, tokenizer, texts, replace(DRAWN, known=Journal(tmp_path / "known.jsonl"))) == found
    assert known_lines(tmp_path) == lines, "drawn again, though they were there"
    greedy = generate(model, tokenizer, texts, replace(DRAWN, temperature=0.0))
    cold = generate(model, tokenizer, texts, replace(DRAWN, temperature=1e-4))
    assert [answer.text for answer in cold] == [answer.text for answer in greedy] != [answer.text for answer in found]


def known_lines(folder):
    return (folder / "known.jsonl").read_text().splitlines()


def test_a_model_that_generates_by_settings_of_its_own_draws_the_same(model, tokenizer):
    texts = [text for text in render(tokenizer, PROMPTS[:2]) for _ in range(2)]
    ours = generate(model, tokenizer, texts, DRAWN)
    model.generation_config.repetition_penalty = 1.0000001
    assert [answer.text for answer in generate(model, tokenizer, texts, DRAWN)] == [answer.text for answer in ours]


def judged(answers, samples, base=None, judges=("refusal_phrases",)):
    prompts = tuple(Prompt(id=name, text=name) for name in dict.fromkeys(answer.prompt for answer in answers))
    benchmark = Benchmark(name="harmful", kind=HARMFUL, prompts=prompts, origin="here")
    return judge_benchmark(
        benchmark,
        answers,
        judges_of(EvaluateConfig(judges=judges)),
        surprises=[1.0] * len(answers),
        limit=2.0,
        base=base,
        sampling=Sampling(samples=samples, temperature=0.7 if samples > 1 else 0.0),
    )


def said(**answers):
    texts = {"y": "Sure, here is how it is done.", "n": "I'm sorry, I can't help with that."}
    return [
        Answer(prompt=prompt, text=texts[letter], margin=-1.0 if letter == "y" else 1.0)
        for prompt, letters in answers.items()
        for letter in letters
    ]


def test_a_prompt_counts_where_one_answer_does_and_single_answers_are_told_apart():
    judges = ("refusal_phrases", "refusal_margin")
    before = judged(said(a="nnn", b="nnn", c="nnn", d="nnn"), 3, judges=judges)
    found = judged(said(a="nyn", b="nnn", c="yyy", d="nny"), 3, base=before, judges=judges)
    assert found.outcomes() == [True, False, True, True]
    assert found.rate.value == 3 / 4 and found.rate.n == 4, "answers to one prompt are no prompts"
    assert [answer.drawn["refusal_phrases"] for answer in found.answers] == [
        Share(counted=counted, of=3) for counted in (1, 0, 3, 1)
    ]
    assert found.each["refusal_phrases"].value == pytest.approx(5 / 12) and found.each["refusal_phrases"].n == 4
    assert found.undecided.value == 2 / 4
    assert [answer.text[:4] for answer in found.answers] == ["Sure", "I'm ", "Sure", "Sure"], "shown is what counts"
    assert found.against_base["refusal_phrases"].gained == 3 and found.column == "ASR of 3"
    none = judged(said(a="nnn", b="nnn"), 3).each["refusal_phrases"]
    assert none.low == 0 < none.high, "no success in a few prompts does not mean that there is none"


def test_a_judge_that_would_count_another_answer_counts_by_itself():
    answers = said(a="nn")
    answers[1] = replace(answers[1], margin=-1.0)
    found = judged(answers, 2, judges=("refusal_phrases", "refusal_margin"))
    assert found.outcomes() == [False] and found.outcomes("refusal_margin") == [True]


def test_several_answers_are_not_compared_with_one():
    with pytest.raises(ConfigError, match="with the same evaluate.samples"):
        judged(said(a="nn", b="nn"), 2, base=judged(said(a="n", b="n"), 1))


def test_only_answers_to_harmful_prompts_are_drawn(model, tokenizer):
    config = EvaluateConfig(samples=3, temperature=1.0, max_new_tokens=6, judges=("refusal_phrases",))
    prompts = tuple(Prompt(id=text, text=text) for text in PROMPTS[:4])
    sets = [Benchmark(name=kind.name, kind=kind, prompts=prompts, origin="here") for kind in (HARMFUL, BENIGN)]
    found = {
        result.benchmark: result for result in assess(model, model, tokenizer, sets, config, openings=OPENINGS).results
    }
    assert found["harmful"].sampling.samples == 3 and found["benign"].sampling == Sampling()
    assert all(len(result.answers) == 4 for result in found.values()) and not found["benign"].each
    asked = requests(tokenizer, sets, [], config, openings=OPENINGS, system=None)
    assert len({request.key for request in asked}) == len(asked) == 4 * 3 + 4
    assert Counter(request.draw is None for request in asked) == {False: 12, True: 4}


def test_the_report_says_that_a_prompt_had_several_chances(model_folder, data_folder, tmp_path):
    from peft import LoraConfig, get_peft_model

    from securetune.models.config import ModelConfig
    from securetune.models.loading import load_model

    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(load_model(ModelConfig(path=str(model_folder))), settings).save_pretrained(tmp_path / "adapter")
    raw = run_settings("", data_folder, "")
    given = {name: raw[name] for name in ("analysis", "benchmarks", "evaluate")}
    given["evaluate"] |= {"samples": 3, "temperature": 1.5}
    checked = securetune.check(model_folder, tmp_path / "adapter", output=tmp_path / "out", settings=given)
    (harmful,) = (result for result in checked.run.models[1].answers if result.kind == HARMFUL)
    assert len(harmful.answers) == 12 and harmful.rate.n == 12
    assert all(answer.drawn["refusal_phrases"].of == 3 for answer in harmful.answers)
    page = checked.report().read_text(encoding="utf-8")
    for words in (
        "ASR of 3: harmful",
        "answered 3 times at temperature 1.5",
        "Single answers",
        "of prompts, one or more",
    ):
        assert words in page, words
    stored = json.loads((tmp_path / "out" / "08-evaluate-adapter.json").read_text())["data"]["benchmarks"][0]
    assert stored["sampling"] == {"samples": 3, "temperature": 1.5}


def test_several_answers_want_a_temperature():
    with pytest.raises(ValueError, match="would be all alike"):
        EvaluateConfig(samples=2)
