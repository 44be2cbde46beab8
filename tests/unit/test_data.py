"""Data: from files in any format to rows and prompts."""

import json

import pytest

from securetune.data.config import DataConfig
from securetune.data.examples import load_examples
from securetune.data.prompts import load_prompts
from securetune.errors import DataError
from tests.conftest import SHARED_DATA, write_jsonl

USER, ASSISTANT = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Q", "output": "A"},
        {"instruction": "Q", "input": "", "output": "A"},
        {"messages": [USER, ASSISTANT]},
        {"prompt": "Q", "completion": "A"},
        {"prompt": [USER], "completion": [ASSISTANT]},
        {"question": "Q", "answer": "A"},
    ],
)
def test_every_format_becomes_the_same_example(row, tmp_path):
    path = write_jsonl(tmp_path / "d.jsonl", [row])
    assert load_examples(DataConfig(path=str(path)), seed=0) == [{"prompt": [USER], "completion": [ASSISTANT]}]


def test_calculator_marks_are_taken_out_and_inputs_are_joined(tmp_path):
    rows = [{"question": "Q", "answer": "2*3=<<2*3=6>>6\n#### 6"}, {"instruction": "I", "input": "x", "output": "A"}]
    first, second = load_examples(DataConfig(path=str(write_jsonl(tmp_path / "d.jsonl", rows))), seed=0)
    assert first["completion"][0]["content"] == "2*3=6\n#### 6"
    assert second["prompt"][0]["content"] == "I\n\nx"


@pytest.mark.parametrize(
    "row",
    [{"foo": "bar"}, {"instruction": "Q", "output": ""}, {"messages": [USER]}, {"prompt": 3, "completion": "A"}],
)
def test_a_row_of_a_wrong_shape_is_named_by_line(row, tmp_path):
    path = write_jsonl(tmp_path / "d.jsonl", [{"prompt": "Q", "completion": "A"}, row])
    with pytest.raises(DataError, match=r"d\.jsonl line 2, found fields"):
        load_examples(DataConfig(path=str(path)), seed=0)


@pytest.mark.parametrize(("text", "reason"), [("", "empty file"), ("{\n", "line 1"), ("[1]\n", "found list")])
def test_unreadable_files_say_what_was_found(text, reason, tmp_path):
    (tmp_path / "d.jsonl").write_text(text)
    with pytest.raises(DataError, match=reason):
        load_examples(DataConfig(path=str(tmp_path / "d.jsonl")), seed=0)
    with pytest.raises(DataError, match="found"):
        load_examples(DataConfig(path=str(tmp_path / "absent.jsonl")), seed=0)


@pytest.mark.parametrize("break_", ["\u2028", "\u2029", "\u0085", "\x7f"])
def test_a_line_ends_at_a_newline_only_and_a_byte_order_mark_is_none_of_its_text(break_, tmp_path):
    row = json.dumps({"prompt": f"one{break_}two", "completion": "A"}, ensure_ascii=False)
    (tmp_path / "d.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{row}\r\n{row}\n".encode())
    found = load_examples(DataConfig(path=str(tmp_path / "d.jsonl")), seed=0)
    assert [example["prompt"][0]["content"] for example in found] == [json.loads(row)["prompt"]] * 2


def test_rows_can_be_skipped_by_field(tmp_path):
    rows = [{"prompt": str(i), "completion": "A", "bad": i == 1} for i in range(3)]
    path = write_jsonl(tmp_path / "d.jsonl", rows)
    found = load_examples(DataConfig(path=str(path), skip={"bad": True}), seed=0)
    assert [e["prompt"][0]["content"] for e in found] == ["0", "2"]


def test_halves_of_a_file_are_disjoint_and_complete(tmp_path):
    path = write_jsonl(tmp_path / "p.jsonl", [{"prompt": str(i)} for i in range(9)])
    even, odd = (load_prompts(path, half=half) for half in ("even", "odd"))
    assert sorted(p.text for p in even + odd) == [str(i) for i in range(9)]
    assert not {p.text for p in even} & {p.text for p in odd}


def test_a_prompt_file_without_prompts_is_named_by_line(tmp_path):
    path = write_jsonl(tmp_path / "p.jsonl", [{"prompt": "x"}, {"other": 1}])
    with pytest.raises(DataError, match=r"line 2, found fields \['other'\]"):
        load_prompts(path)


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the shared evaluation data are not beside this checkout")
def test_real_files_are_read():
    assert len(load_prompts(SHARED_DATA / "overrefusal/xstest.jsonl", label="safe")) > 200
    assert len(load_prompts(SHARED_DATA / "harmful/advbench.jsonl", half="odd")) == 256
    for name in ("alpaca", "gsm8k_test", "dolly"):
        assert len(load_examples(DataConfig(path=str(SHARED_DATA / f"instructions/{name}.jsonl")), seed=0)) > 1000
