"""Chat templates of real models, as TRL ships them: an answer is trained from where the model is asked."""

import copy
import re
from pathlib import Path

import pytest
import trl

from securetune.data.prompts import render, tokenize_example
from securetune.data.rendering import check_rows, check_template
from securetune.errors import DataError
from securetune.models.template import close_reasoning

FOLDER = Path(trl.__file__).parent / "chat_templates"
THINKING = ["deepseek_r1_distill", "deepseekv3", "nemotron_3_nano", "qwen3", "qwen3_5_think", "qwen3_6", "lfm2_2_5"]
OTHERS = ["cohere", "gemma", "gemma3", "gptoss", "llama3", "llama3_1", "phi3", "qwen2_5", "qwen3_instruct_2507"]
MARKS = re.compile(r"<[|｜][^<>{}\s'\"]{1,30}[|｜]>|<(?:start|end)_of_turn>")


@pytest.fixture
def made(tokenizer):
    """A tokenizer with a real model's template and the special tokens that stand in it."""

    def make(name):
        file = FOLDER / f"{name}.jinja"
        if not file.exists():
            pytest.skip(f"this version of TRL has no {file.name}")
        mine = copy.deepcopy(tokenizer)
        mine.chat_template = file.read_text(encoding="utf-8")
        marks = sorted(set(MARKS.findall(mine.chat_template)))
        mine.add_special_tokens({"bos_token": "<|first|>", "additional_special_tokens": marks})
        close_reasoning(mine)
        return mine

    return make


def row(answer):
    return {"prompt": [{"role": "user", "content": "Hi."}], "completion": [{"role": "assistant", "content": answer}]}


def trained(tokenizer, example):
    (prompt,) = render(tokenizer, ["Hi."])
    tokens = tokenize_example(tokenizer, example, max_length=4000)
    assert tokenizer.decode(tokens.ids[: tokens.start]) == tokenizer.decode(
        tokenizer(prompt, add_special_tokens=False)["input_ids"]
    )
    return tokenizer.decode(tokens.ids[tokens.start :])


@pytest.mark.parametrize("name", [*THINKING, *OTHERS])
def test_an_answer_is_trained_with_its_end(name, made):
    tokenizer = made(name)
    found = check_rows(tokenizer, "rows", [row("Hello you.")], max_length=4000)
    end = check_template(tokenizer).end
    assert (found.endless, found.dropped, found.cut) == (0, 0, 0) and end
    said = trained(tokenizer, row("Hello you."))
    assert "Hello you." in said and said.partition("Hello you.")[2].startswith(end)


@pytest.mark.parametrize("name", THINKING)
def test_an_answer_is_trained_with_its_reasoning_once(name, made):
    tokenizer = made(name)
    example = row("<think>\nGreet them.\n</think>\n\nHello you.")
    assert check_rows(tokenizer, "rows", [example], max_length=4000).unthought == 0
    said = render(tokenizer, ["Hi."])[0][-20:] + trained(tokenizer, example)
    assert re.search(r"<think>\n?Greet them\.\n?</think>\s*Hello you\.", said)
    assert said.count("<think>") == said.count("Greet them.") == said.count("</think>") == 1


def test_a_model_that_is_asked_not_to_think_learns_no_reasoning(made):
    tokenizer = made("qwen3_5_nothink")
    assert trained(tokenizer, row("Hello you.")).startswith("Hello you.")
    with pytest.raises(DataError, match="found one with reasoning where a prompt ends with .*`enable_thinking`"):
        check_rows(tokenizer, "rows", [row("<think>\nGreet them.\n</think>\n\nHello you.")], max_length=4000)
