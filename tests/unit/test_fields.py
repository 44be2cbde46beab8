"""Fields: a field that a format knows is used, or its row is refused; none is trimmed."""

import pytest

from securetune.data.config import DataConfig
from securetune.data.examples import load_examples
from securetune.data.prompts import load_prompts
from securetune.errors import DataError
from securetune.evaluate.attacks import ATTACKS
from securetune.testbed.recipe import RecipeConfig, train_base
from tests.conftest import write_jsonl

USER, ASSISTANT = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
SYSTEM = {"role": "system", "content": "S"}
EARLIER = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def examples(row, tmp_path):
    path = write_jsonl(tmp_path / "d.jsonl", [row])
    return load_examples(DataConfig(path=str(path)), seed=0)


def shares(speaker, text):
    return {"from": speaker, "value": text}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"instruction": "Q", "output": "A", "system": "S"}, [SYSTEM, USER]),
        ({"system_prompt": "S", "question": "Q", "response": "A"}, [SYSTEM, USER]),
        ({"prompt": "Q", "completion": "A", "system": "S", "history": [["q", "a"]]}, [SYSTEM, *EARLIER, USER]),
        ({"instruction": "Q", "input": "", "output": "A", "history": [["q", "a"]]}, [*EARLIER, USER]),
        ({"instruction": "Q", "context": "C", "response": "A", "category": "x"}, [{**USER, "content": "Q\n\nC"}]),
        ({"prompt": "Q", "input": "C", "completion": "A"}, [{**USER, "content": "Q\n\nC"}]),
        ({"question": "Q", "context": "C", "answer": "A"}, [{**USER, "content": "Q\n\nC"}]),
        ({"input": "Q", "output": "A"}, [USER]),
        ({"query": "Q", "response": "A", "type": "x"}, [USER]),
        ({"messages": [USER, ASSISTANT], "system": "S"}, [SYSTEM, USER]),
        ({"messages": [SYSTEM, *EARLIER, USER, ASSISTANT], "tools": []}, [SYSTEM, *EARLIER, USER]),
        ({"conversations": [shares("human", "Q"), shares("gpt", "A")], "system": "S"}, [SYSTEM, USER]),
        ({"conversations": [shares("system", "S"), shares("human", "Q"), shares("gpt", "A")]}, [SYSTEM, USER]),
        ({"messages": [{**USER, "role": "human"}, {**ASSISTANT, "role": "model"}]}, [USER]),
        ({"messages": [{**USER, "content": [{"type": "text", "text": "Q"}]}, ASSISTANT]}, [USER]),
        ({"messages": [USER, {**ASSISTANT, "tool_calls": None, "weight": 1}]}, [USER]),
        ({"prompt": [SYSTEM, USER], "completion": [ASSISTANT]}, [SYSTEM, USER]),
        ({"prompt": [USER], "completion": [ASSISTANT], "system": "S"}, [SYSTEM, USER]),
        ({"prompt": "Q", "messages": [USER, ASSISTANT]}, [USER]),
        ({"instruction": "Q", "output": "so it is A", "answer": "A"}, [USER]),
    ],
)
def test_what_a_row_knows_is_read(row, prompt, tmp_path):
    (example,) = examples(row, tmp_path)
    assert example["prompt"] == prompt
    assert example["completion"][0]["role"] == "assistant" and "A" in example["completion"][0]["content"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [{**USER, "role": "narrator"}, ASSISTANT]}, "with 'narrator' as the speaker of turn 1"),
        ({"messages": [USER, {"role": "tool", "content": "x"}, ASSISTANT]}, "with 'tool' as the speaker of turn 2"),
        ({"messages": [{"content": "Q"}, ASSISTANT]}, "with None as the speaker of turn 1"),
        ({"messages": [USER, SYSTEM, USER, ASSISTANT]}, "with a system turn in place 2.*Put it first"),
        ({"messages": [SYSTEM, ASSISTANT]}, "with turns of system, assistant.*End the row"),
        ({"messages": [USER, ASSISTANT, ASSISTANT]}, "with turns of user, assistant, assistant"),
        ({"messages": [USER, {**ASSISTANT, "tool_calls": [1]}]}, "with `tool_calls` in turn 2"),
        ({"messages": [USER, {**ASSISTANT, "reasoning_content": "hm"}]}, "with `reasoning_content` in turn 2"),
        ({"messages": [USER, {**ASSISTANT, "weight": 0}]}, "with `weight` 0 in turn 2 of 2"),
        ({"messages": [USER, {**ASSISTANT, "weight": 1}, USER, ASSISTANT]}, "with `weight` 1 in turn 2 of 4"),
        ({"messages": [USER, {**ASSISTANT, "content": [{"type": "image_url"}]}]}, "a part 'image_url' in turn 2"),
        ({"messages": [USER, {**ASSISTANT, "content": " "}]}, "with str of spaces in turn 2"),
        ({"messages": [USER, "A"]}, "with str as turn 2"),
        ({"messages": [USER, ASSISTANT], "tools": [{"name": "f"}]}, "where `tools` would be left out next to"),
        ({"messages": [USER, ASSISTANT], "context": "C"}, "where `context` would be left out next to `messages`"),
        ({"messages": [SYSTEM, USER, ASSISTANT], "system": "T"}, "where `system` would be left out next to"),
        ({"instruction": "Q", "output": "A", "system": "S", "system_prompt": "T"}, "where `system_prompt` would be"),
        (
            {"instruction": "Q", "output": "A", "question": "R"},
            "where `question` would be left out next to `instruction`, `output`\\. ",
        ),
        ({"instruction": "Q", "output": "A", "response": "B"}, "where `response` would be left out next to"),
        ({"instruction": "Q", "output": "A", "images": ["x.png"]}, "where `images` would be left out next to"),
        ({"instruction": "Q", "input": "C", "context": "D", "output": "A"}, "with both `input` and `context`"),
        ({"instruction": "Q", "input": {"a": 1}, "output": "A"}, "with dict in `input`"),
        ({"instruction": "Q", "output": "A", "system": ["S"]}, "without text in `system`"),
        ({"instruction": "Q", "output": "A", "history": ["q", "a"]}, "whose `history` is no list of"),
        ({"prompt": [USER], "completion": [ASSISTANT], "input": "C"}, "where `input` would be left out next to"),
        ({"prompt": [USER], "completion": [ASSISTANT], "history": [["q", "a"]]}, "where `history` would be left out"),
    ],
)
def test_what_cannot_be_used_is_refused(row, message, tmp_path):
    with pytest.raises(
        DataError, match=rf"(?s)Expected a row to tune on in .*d\.jsonl line 1, found fields .*{message}"
    ):
        examples(row, tmp_path)


@pytest.mark.parametrize(
    "answer",
    [
        "add<<<b, t>>>(x);",
        "Use `x<<2` and `y>>1`.",
        "#### Kernels\nadd<<<b, t>>>(x)",
        "2+3=<<2+3=5>>5",
        "<<a=b>>\n#### x",
    ],
)
def test_marks_in_other_answers_than_those_of_gsm8k_stay(answer, tmp_path):
    (example,) = examples({"question": "Q", "answer": answer}, tmp_path)
    assert example["completion"] == [{"role": "assistant", "content": answer}]


def test_marks_of_gsm8k_alone_are_taken_out(tmp_path):
    (example,) = examples({"question": "Q", "answer": "f<<<1, 2>>>() is <<2+3=5>>5\n#### 5"}, tmp_path)
    assert example["completion"][0]["content"] == "f<<<1, 2>>>() is 5\n#### 5"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"instruction": "Q", "input": "C"}, "Q\n\nC"),
        ({"question": "Q", "context": "C"}, "Q\n\nC"),
        ({"messages": [USER]}, "Q"),
        ({"conversations": [shares("human", "Q"), shares("gpt", "A")]}, "Q"),
        ({"prompt": [USER]}, "Q"),
    ],
)
def test_a_prompt_is_read_with_what_it_is_about(row, text, tmp_path):
    assert [prompt.text for prompt in load_prompts(write_jsonl(tmp_path / "p.jsonl", [row]))] == [text]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Q", "system": "S"}, "with its own `system`.*`evaluate.system`"),
        ({"prompt": "Q", "history": [["q", "a"]]}, "with its own `history`"),
        ({"messages": [SYSTEM, USER]}, "with turns of system, user"),
        ({"messages": [*EARLIER, USER]}, "with turns of user, assistant, user"),
    ],
)
def test_a_prompt_that_does_not_stand_alone_is_refused(row, message, tmp_path):
    path = write_jsonl(tmp_path / "p.jsonl", [row])
    with pytest.raises(DataError, match=rf"Expected a prompt in .*p\.jsonl line 1, found fields .*{message}"):
        load_prompts(path)


def test_examples_in_context_are_shown_with_all_their_turns(tmp_path):
    row = {"prompt": "Q", "completion": "A", "history": [["q", "a"]]}
    attack = ATTACKS.make("in_context", {"path": str(write_jsonl(tmp_path / "d.jsonl", [row]))}, "attack")
    assert attack.turns == [*EARLIER, USER, ASSISTANT]
    path = write_jsonl(tmp_path / "d.jsonl", [row | {"system": "S"}])
    with pytest.raises(DataError, match="without a system prompt in .*found one with it.*Take it out"):
        ATTACKS.make("in_context", {"path": str(path)}, "attack")


def test_a_chat_model_from_nothing_is_trained_on_single_turns(tmp_path):
    path = write_jsonl(tmp_path / "d.jsonl", [{"prompt": "Q", "completion": "A", "system": "S"}])
    sources = [{"path": str(path)}]
    recipe = RecipeConfig(output=str(tmp_path / "out"), helpful=sources, refused=(), kept=sources)
    with pytest.raises(DataError, match="rows of one request each in .*found one with a system prompt"):
        train_base(recipe)
