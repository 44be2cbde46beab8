"""Stored answers: they are written and read one at a time, and say the same as if they had been held."""

import json
import tracemalloc
from dataclasses import replace

import pytest

from securetune.data.prompts import Prompt
from securetune.data.stored import store
from securetune.errors import ArtifactError
from securetune.evaluate.answers import Answer
from securetune.evaluate.benchmark import Benchmark
from securetune.evaluate.judges.refusal_phrases import RefusalPhrases, Window
from securetune.evaluate.judging import judge_benchmark
from securetune.evaluate.result import store_results, stored_results
from securetune.measures.kinds import BENIGN, HARMFUL
from tests.results import answered, evaluation

AWKWARD = ']}\n{"a": "ü"},\u2028\r "answers": [\n'
MANY = 1_000


def sets():
    harmful, benign = answered(HARMFUL, 1, 3, "h"), answered(BENIGN, 2, 2, "b")
    return [replace(harmful, answers=[replace(one, text=AWKWARD) for one in harmful.answers]), benign]


def test_answers_are_read_as_they_were_written_and_each_has_a_line_of_its_own(tmp_path):
    path = tmp_path / "08-evaluate-none.answers.json"
    store_results(path, evaluation(sets()))
    assert stored_results(path) == sets() and stored_results(path)[0].answers[-1].text == AWKWARD
    assert len(path.read_bytes().split(b"\n")) == 1 + 2 * 2 + 5 + 1 + 1
    whole = json.loads(path.read_text(encoding="utf-8"))
    assert [len(one["answers"]) for one in whole["benchmarks"]] == [3, 2] and whole["task"]["loss"] == 1.0
    path.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    assert stored_results(path) == sets(), "in any layout"


@pytest.mark.parametrize("left", [1, 3, 5, 7])
def test_answers_that_were_cut_off_are_an_error(tmp_path, left):
    path = tmp_path / "08-evaluate-none.answers.json"
    store_results(path, evaluation(sets()))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:left]))
    with pytest.raises(ArtifactError, match=r"Expected answers in .*none.answers.json, found .*Delete the file"):
        stored_results(path)


def judged(count, folder):
    prompts = [Prompt(text=f"Say {i}", id=str(i)) for i in range(count)]
    benchmark = Benchmark(name="many", kind=BENIGN, prompts=tuple(prompts), origin="here")
    vars(benchmark)["clusters"] = list(range(count))
    answers = store((Answer(prompt=one.text, text="It is said. " * 9) for one in prompts), folder, kind=Answer)
    judges, nats = {"refusal_phrases": RefusalPhrases(Window())}, [1.0] * count
    return judge_benchmark(benchmark, answers, judges, surprises=nats, limit=5.0, folder=folder)


def test_many_answers_are_judged_written_and_read_without_being_held(tmp_path):
    judged(2, tmp_path)  # libraries and patterns are loaded once
    path = tmp_path / "08-evaluate-none.answers.json"
    tracemalloc.start()
    result = judged(MANY, tmp_path)
    store_results(path, evaluation([result]))
    (stored,) = stored_results(path)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 120 * MANY and most < 500 * MANY, "as objects, an answer takes a kilobyte"
    assert sum(stored.outcomes()) == 0 and stored.answers[-1].prompt == f"Say {MANY - 1}"
    assert list(tmp_path.iterdir()) == [path], "what holds them has no name that a kill could leave"
