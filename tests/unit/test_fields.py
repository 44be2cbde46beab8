"""Fields: a field that a format knows is used, or its row is refused; none is trimmed."""

import json
import re

import pytest

from securetune.data.config import DataConfig
from securetune.data.examples import load_examples, load_source, parted
from securetune.data.prompts import load_prompts
from securetune.errors import DataError
from securetune.evaluate.attacks import ATTACKS
from securetune.testbed.recipe import RecipeConfig, train_base
from tests.conftest import write_jsonl

USER, ASSISTANT = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
SYSTEM = {"role": "system", "content": "S"}
TOOL = {"role": "tool", "content": "T"}
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
        ({"messages": json.dumps([USER, ASSISTANT])}, [USER]),
        ({"Messages": [{"Role": "User ", "Content": "Q"}, {"Role": "Assistant", "Content": "A"}]}, [USER]),
        ({"messages": [{"role": "prompter", "text": "Q"}, {"role": "assistant", "text": "A"}]}, [USER]),
        ({"messages": [{**USER, "content": [{"type": "input_text", "text": "Q"}]}, ASSISTANT]}, [USER]),
        ({"messages": [*EARLIER, USER, {"role": "tool", "content": "T"}, ASSISTANT]}, [*EARLIER, USER, TOOL]),
        ({"conversations": [shares("human", "Q"), shares("observation", "T"), shares("gpt", "A")]}, [USER, TOOL]),
        ({"system_message": "S", "question": "Q", "answer": "A"}, [SYSTEM, USER]),
        ({"prompt": [SYSTEM, USER], "completion": [ASSISTANT]}, [SYSTEM, USER]),
        ({"prompt": [USER], "completion": [ASSISTANT], "system": "S"}, [SYSTEM, USER]),
        ({"prompt": "Q", "messages": [USER, ASSISTANT]}, [USER]),
        ({"instruction": "Q", "output": "so it is A", "answer": "A"}, [USER]),
    ],
)
def test_what_a_row_knows_is_read(row, prompt, tmp_path):
    *_, example = examples(row, tmp_path)
    assert example["prompt"] == prompt
    assert example["completion"][0]["role"] == "assistant" and "A" in example["completion"][0]["content"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [{**USER, "role": "narrator"}, ASSISTANT]}, "with 'narrator' as the speaker of turn 1"),
        (
            {"messages": [USER, {"role": "function_call", "content": "x"}, ASSISTANT]},
            "with 'function_call' as the speaker of turn 2",
        ),
        ({"messages": [{"content": "Q"}, ASSISTANT]}, "with None as the speaker of turn 1"),
        ({"messages": [USER, SYSTEM, USER, ASSISTANT]}, "with a system turn in place 2.*Put it first"),
        ({"messages": [SYSTEM, ASSISTANT]}, "with turns of system, assistant.*End the row"),
        ({"messages": [USER, ASSISTANT, ASSISTANT]}, "with turns of user, assistant, assistant"),
        ({"messages": [USER, {**ASSISTANT, "tool_calls": [1]}]}, "with `tool_calls` in turn 2"),
        ({"messages": [USER, {**ASSISTANT, "reasoning_content": "hm"}]}, "with `reasoning_content` in turn 2"),
        ({"messages": [USER, ASSISTANT, ASSISTANT, USER, ASSISTANT]}, "Join turns of the assistant"),
        ({"messages": [USER, {**ASSISTANT, "weight": 0}]}, "of which no turn is to be trained"),
        ({"messages": [USER, {**ASSISTANT, "weight": 0.5}]}, "with `weight` 0.5 in turn 2.*0 or 1"),
        ({"messages": [USER, {**ASSISTANT, "weight": 1, "mask": True}]}, "with both `weight` and `mask` in turn 2"),
        ({"messages": [{**USER, "weight": 1}, ASSISTANT]}, "where turn 1 of 2 says that it is trained"),
        ({"messages": [ASSISTANT]}, "with turns of assistant.*End the row"),
        ({"messages": "[{'role': 'user', 'content': 'Q'}]"}, "with a text in `messages` that is no JSON list"),
        ({"messages": [{**USER, "Role": "user"}, ASSISTANT]}, "with fields in turn 1 that differ in capitals alone"),
        ({"messages": [{"role": "system", "content": ""}]}, "with turns of "),
        ({"question": "Q", "options": ["A", "B"], "answer": "A"}, "where `options` would be left out next to"),
        ({"systemInstruction": {"parts": []}, "messages": [USER, ASSISTANT]}, "without text in `systeminstruction`"),
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


def answers(row, tmp_path, **settings):
    """What is trained, each with the number of turns before it."""
    path = write_jsonl(tmp_path / "d.jsonl", [row])
    found = load_examples(DataConfig(path=str(path), **settings), seed=0)
    return [(len(row["prompt"]), row["completion"][0]["content"]) for row in found]


def test_every_answer_of_a_conversation_is_trained_unless_it_says_otherwise(tmp_path):
    turns = [SYSTEM, *EARLIER, USER, ASSISTANT]
    assert answers({"messages": turns}, tmp_path) == [(2, "a"), (4, "A")]
    assert answers({"messages": turns}, tmp_path, trained_turns="last") == [(4, "A")]
    assert answers({"messages": [*turns, USER]}, tmp_path) == [(2, "a"), (4, "A")]
    assert answers({"messages": [ASSISTANT, *turns[1:]]}, tmp_path) == [(2, "a"), (4, "A")]
    marked = [{**EARLIER[0], "weight": 0}, {**EARLIER[1], "weight": 0}, USER, {**ASSISTANT, "weight": 1}]
    assert answers({"messages": marked}, tmp_path) == [(3, "A")]
    first = [EARLIER[0], {**EARLIER[1], "train": True}, USER, {**ASSISTANT, "train": False}]
    assert answers({"messages": first}, tmp_path) == [(1, "a")]
    with pytest.raises(DataError, match="where turn 2 of 4 says that it is trained, while the last turn and no other"):
        answers({"messages": first}, tmp_path, trained_turns="last")
    with pytest.raises(DataError, match="End the row with one turn of the user and one of the assistant"):
        answers({"messages": [*turns, USER]}, tmp_path, trained_turns="last")


ALPACA = "Below is an instruction that describes a task. Write a response.\n\n"
WRITTEN = {
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n",
    "llama 2": "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nQ [/INST] A </s>",
    "llama 3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user"
    "<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|>",
    "zephyr": "<|system|>\nS</s>\n<|user|>\nQ</s>\n<|assistant|>\nA</s>",
    "phi 3": "<|system|>\nS<|end|>\n<|user|>\nQ<|end|>\n<|assistant|>\nA<|end|>\n<|endoftext|>",
    "guanaco": "### System: S### Human: Q### Assistant: A",
}


@pytest.mark.parametrize("form", WRITTEN)
def test_turns_of_a_written_text_are_found(form, tmp_path):
    (example,) = examples({"text": WRITTEN[form]}, tmp_path)
    assert example == {"prompt": [SYSTEM, USER], "completion": [ASSISTANT]}


def test_a_written_text_may_have_several_turns_and_no_system_turn(tmp_path):
    gemma = "<bos>" + "".join(f"<start_of_turn>{who}\n{text}<end_of_turn>\n" for who, text in (
        ("user", "q"), ("model", "a"), ("user", "Q"), ("model", "A")))  # fmt: skip
    for text in (gemma, "<s>[INST] q [/INST] a </s><s>[INST] Q [/INST] A </s>"):
        assert [example["prompt"] for example in examples({"text": text}, tmp_path)] == [[EARLIER[0]], [*EARLIER, USER]]
    alpaca = f"{ALPACA}### Instruction:\nQ\n\n### Input:\nC\n\n### Response:\nA"
    assert examples({"text": alpaca}, tmp_path)[0]["prompt"] == [{"role": "user", "content": "Q\n\nC"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Once upon a time.", "with a text in which no turns are marked"),
        ("USER: Q ASSISTANT: A", "with a text in which no turns are marked"),
        (f"Be kind. {WRITTEN['zephyr']}", "with 'Be kind.' beside the turns of `text`"),
        (WRITTEN["chatml"] + "by me", "with 'by me' beside the turns of `text`"),
        (f"x {WRITTEN['llama 2']}", "with 'x' beside the turns of `text`"),
        (WRITTEN["guanaco"].replace("Human", "Assistant"), "with turns of system, assistant, assistant"),
        ("[INST] Q [/INST]", "with no text in turn 2"),
        ("[INST] Q [INST] R [/INST] A", "with no text in turn 2"),
        ("### Instruction: Q ### Input: C ### Input: D ### Response: A", "with 'input' as the speaker of turn 2"),
        (WRITTEN["chatml"].replace("user", "narrator"), "with 'narrator' as the speaker of turn 2"),
    ],
)
def test_a_written_text_is_read_whole_or_refused(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        examples({"text": text}, tmp_path)


def test_what_was_not_read_or_read_otherwise_is_said(tmp_path):
    rows = [
        {"messages": [{"role": "system", "content": ""}, *EARLIER, USER, ASSISTANT], "source": "x"},
        {"messages": [ASSISTANT, USER, ASSISTANT, USER], "id": 7},
        {"question": "Q", "complex_cot": "hm", "answer": "A", "id": "x", "prompt_id": "y"},
    ]
    source = load_source(DataConfig(path=str(write_jsonl(tmp_path / "d.jsonl", rows))), seed=0)
    notes = "\n".join(source.notes)
    assert (source.read, source.skipped, len(source.rows)) == (3, 0, 4)
    for note in (
        r"1 of 3 rows of .*d\.jsonl have an empty system turn",
        r"1 of 3 rows .* begin with a turn of the assistant",
        r"1 of 3 rows .* end with a turn that nobody answers",
        r"1 of 3 rows .* have several answers.*: 4 answers in all",
        r"Not read of the rows of .*d\.jsonl: `complex_cot`, `source`\.",
    ):
        assert re.search(note, notes), note
    plain = load_source(
        DataConfig(path=str(write_jsonl(tmp_path / "d.jsonl", [{"prompt": "Q", "output": "A"}]))), seed=0
    )
    assert not plain.notes


def test_rows_that_cannot_be_used_are_left_out_where_that_is_asked_and_counted(tmp_path):
    rows = [
        {"prompt": "Q", "completion": "A"},
        {"prompt": "Q"},
        {"messages": [USER]},
        {"prompt": "R", "completion": "B"},
    ]
    path = str(write_jsonl(tmp_path / "d.jsonl", rows))
    with pytest.raises(
        DataError, match=r"line 2, .*To leave such rows out, and have them counted, set `unusable: skip`"
    ):
        load_source(DataConfig(path=path), seed=0)
    source = load_source(DataConfig(path=path, unusable="skip"), seed=0)
    assert [row["completion"][0]["content"] for row in source.rows] == ["A", "B"]
    assert (source.read, source.skipped) == (4, 2)
    (note,) = source.notes
    assert re.match(r"2 of 4 rows of .* are left out; the first: Expected one of the formats .* line 2", note)
    path = str(write_jsonl(tmp_path / "d.jsonl", rows[1:3]))
    with pytest.raises(DataError, match=r"Expected one of the formats .* line 1"):
        load_source(DataConfig(path=path, unusable="skip"), seed=0)


def test_answers_of_one_conversation_stay_together(tmp_path):
    rows = [
        {"messages": [{"role": role, "content": f"{number} {n}"} for n in range(3) for role in ("user", "assistant")]}
        for number in range(20)
    ]
    path = write_jsonl(tmp_path / "d.jsonl", rows)
    drawn = load_examples(DataConfig(path=str(path)), seed=1, shuffled=True)
    held_out, left = parted(drawn, 10)
    assert (len(held_out), len(left)) == (12, 48)
    asked, trained = ({row["prompt"][0]["content"] for row in side} for side in (held_out, left))
    assert not asked & trained
    assert len(load_examples(DataConfig(path=str(path), limit=7), seed=1)) == 7


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
    path = write_jsonl(tmp_path / "d.jsonl", [{"messages": [*EARLIER, USER, ASSISTANT]}])
    assert ATTACKS.make("in_context", {"path": str(path)}, "attack").turns == [*EARLIER, USER, ASSISTANT]
    path = write_jsonl(tmp_path / "d.jsonl", [row | {"system": "S"}])
    with pytest.raises(DataError, match="without a system prompt in .*found one with it.*Take it out"):
        ATTACKS.make("in_context", {"path": str(path)}, "attack")


def test_a_chat_model_from_nothing_is_trained_on_single_turns(tmp_path):
    path = write_jsonl(tmp_path / "d.jsonl", [{"prompt": "Q", "completion": "A", "system": "S"}])
    sources = [{"path": str(path)}]
    recipe = RecipeConfig(output=str(tmp_path / "out"), helpful=sources, refused=(), kept=sources)
    with pytest.raises(DataError, match="rows of one request each in .*found one with a system prompt"):
        train_base(recipe)
