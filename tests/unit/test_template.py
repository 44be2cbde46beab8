"""Chat templates: their variables, and what they write before an answer."""

import copy

import pytest
from transformers import AutoTokenizer

from securetune.base.fingerprint import fingerprint
from securetune.data.prompts import render, tokenize_example
from securetune.data.rendering import check_rows
from securetune.errors import DataError, ModelError
from securetune.models.config import ModelConfig
from securetune.models.loading import load_tokenizer, tokenizer_hash
from securetune.models.template import set_variables, written_reasoning

MAY_THINK = (
    "{%- for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{%- if add_generation_prompt %}<|assistant|>"
    "{%- if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
    "{%- endif %}{# style: {{ style }} #}{{ style }}"
)


@pytest.fixture
def folder(tokenizer, tmp_path):
    mine = copy.deepcopy(tokenizer)
    mine.chat_template = MAY_THINK
    mine.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    return tmp_path / "model"


def test_variables_of_the_template_hold_wherever_prompts_are_rendered(folder, tmp_path):
    plain = load_tokenizer(ModelConfig(path=str(folder)))
    config = ModelConfig(path=str(folder), chat_template_kwargs={"enable_thinking": False})
    quiet = load_tokenizer(config)
    turns = [{"role": "user", "content": "hi"}]
    direct = plain.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert render(quiet, ["hi"]) == [direct] == ["<|user|>hi<|end|><|assistant|><think></think>"]
    assert render(plain, ["hi"]) == ["<|user|>hi<|end|><|assistant|>"]
    quiet.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert render(again, ["hi"]) == [direct]
    set_variables(again, {"enable_thinking": True})
    assert render(again, ["hi"]) == render(plain, ["hi"]), "the value given last holds"
    assert tokenizer_hash(quiet) != tokenizer_hash(plain)
    assert fingerprint(config) != fingerprint(ModelConfig(path=str(folder)))


@pytest.mark.parametrize("value", ['say "hi" \\ or\nnot – ☃', 3, 0.5, ["a", {"b": None}], True])
def test_a_value_of_any_kind_reaches_the_template_as_it_is(tokenizer, value):
    plain, mine = copy.deepcopy(tokenizer), copy.deepcopy(tokenizer)
    plain.chat_template = mine.chat_template = "  {% if true %}{{ style | tojson }}{% endif %}\n x"
    set_variables(mine, {"style": value})
    turns = [{"role": "user", "content": "hi"}]
    assert mine.apply_chat_template(turns, tokenize=False) == plain.apply_chat_template(
        turns, tokenize=False, style=value
    )


def test_a_variable_that_the_template_does_not_have_is_refused(folder):
    with pytest.raises(ModelError, match=r"found \['enable_thinkin'\], which the template does not mention"):
        load_tokenizer(ModelConfig(path=str(folder), chat_template_kwargs={"enable_thinkin": False}))


def test_a_value_that_no_template_can_hold_is_refused(folder):
    with pytest.raises(ModelError, match="chat_template_kwargs.style, found set. Write it as a text"):
        load_tokenizer(ModelConfig(path=str(folder), chat_template_kwargs={"style": {"a"}}))


OPENS_THINK = (
    "{% for message in messages %}{% set said = message['content'].split('</think>')[-1] %}"
    "<|{{ message['role'] }}|>{{ said }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}\n"
)
ROW = {"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "assistant", "content": "Hello."}]}


def loaded(tokenizer, template, folder):
    mine = copy.deepcopy(tokenizer)
    mine.chat_template = template
    mine.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return load_tokenizer(ModelConfig(path=str(folder)))


def test_a_template_that_opens_reasoning_is_trained_on_from_where_it_is_asked(tokenizer, tmp_path):
    mine = loaded(tokenizer, OPENS_THINK, tmp_path)
    (prompt,) = render(mine, ["hi"])
    assert prompt == "<|user|>hi<|end|><|assistant|><think>\n"
    row = tokenize_example(mine, ROW, max_length=200)
    assert mine.decode(row.ids) == prompt + "\n</think>\n\nHello.<|end|>"
    assert mine.decode(row.ids[row.start :]) == "\n</think>\n\nHello.<|end|>"
    assert mine.apply_chat_template(ROW["prompt"], tokenize=False) == "<|user|>hi<|end|>"
    again = [*ROW["prompt"], *ROW["completion"], *ROW["prompt"]]
    assert mine.apply_chat_template(again, tokenize=False, add_generation_prompt=True).count("<think>") == 1


THINKING_ROW = {**ROW, "completion": [{"role": "assistant", "content": "<think>\nGreet them.\n</think>\n\nHello."}]}
SHORTENS = OPENS_THINK.replace("message['content'].split('</think>')[-1]", "message['content']").replace(
    "{{ said }}",
    "{% if message['role'] == 'assistant' and '<think>' not in said %}<think></think>{% endif %}{{ said }}",
)


@pytest.mark.parametrize("template", [OPENS_THINK, SHORTENS], ids=["leaves reasoning out", "shortens an empty one"])
def test_reasoning_in_an_answer_goes_on_from_a_template_that_opens_it(template, tokenizer, tmp_path):
    mine = loaded(tokenizer, template, tmp_path)
    (prompt,) = render(mine, ["hi"])
    assert prompt.endswith("<|assistant|><think>\n")
    thinking, plain = (tokenize_example(mine, row, max_length=200) for row in (THINKING_ROW, ROW))
    assert mine.decode(thinking.ids) == prompt + "Greet them.\n</think>\n\nHello.<|end|>"
    assert mine.decode(plain.ids) == prompt + "\n</think>\n\nHello.<|end|>"
    found = check_rows(mine, "r", [THINKING_ROW, ROW], max_length=200)
    assert (found.endless, found.dropped) == (0, 0)


def test_marks_that_an_answer_speaks_of_are_no_reasoning(tokenizer, tmp_path):
    mine = loaded(tokenizer, SHORTENS.replace("'<think>' not in said", "'<think>' not in said[:7]"), tmp_path)
    said = "Put it between <think> and </think>."
    row = {**ROW, "completion": [{"role": "assistant", "content": said}]}
    assert said in mine.apply_chat_template([*row["prompt"], *row["completion"]], tokenize=False)


def test_reasoning_where_the_template_asks_for_none_is_told(tokenizer, tmp_path):
    closes = MAY_THINK.replace("enable_thinking is defined and enable_thinking is false", "true")
    mine = loaded(tokenizer, closes, tmp_path)
    with pytest.raises(DataError, match=r"found one with reasoning where a prompt ends with .*enable_thinking"):
        tokenize_example(mine, THINKING_ROW, max_length=200)


def test_other_templates_stay_as_they_are(tokenizer, tmp_path):
    for number, template in enumerate((tokenizer.chat_template, MAY_THINK)):
        (folder := tmp_path / str(number)).mkdir()
        assert loaded(tokenizer, template, folder).chat_template == template


def test_what_the_template_writes_before_an_answer_is_where_one_begins(tokenizer):
    mine = copy.deepcopy(tokenizer)
    assert written_reasoning(mine) == ""
    mine.chat_template = OPENS_THINK
    assert written_reasoning(mine) == "\n</think>\n\n"
    mine.chat_template = (
        "{% for message in messages %}<|{{ message['role'] }}|>"
        "{% if message['role'] == 'assistant' %}<|channel|>final<|message|>{% endif %}{{ message['content'] }}<|end|>"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    assert written_reasoning(mine) == "<|channel|>final<|message|>"
