"""What templates and tokenizers do to rows and prompts is found before anything is trained on them."""

import copy
import time

import pytest
from transformers import ProcessorMixin

from securetune.data.config import DataConfig
from securetune.data.examples import load_source
from securetune.data.rendering import check_prompts, check_rows, check_template
from securetune.errors import DataError, ModelError
from securetune.measures.language import UNKNOWN, language
from tests.conftest import write_jsonl

TURN = "<|{{ m['role'] }}|>{{ m['content'] }}<|end|>"
ANSWER = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
PLAIN = "{% for m in messages %}" + TURN + "{% endfor %}" + ANSWER
REFUSES_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + TURN + "{% endfor %}" + ANSWER
)  # fmt: skip
LOSES_SYSTEM = "{% for m in messages %}{% if m['role'] != 'system' %}" + TURN + "{% endif %}{% endfor %}" + ANSWER
MERGES_SYSTEM = (
    "{% set first = messages[0]['content'] + '\n' if messages[0]['role'] == 'system' else '' %}"
    "{% for m in messages %}{% if m['role'] != 'system' %}"
    "<|{{ m['role'] }}|>{{ first if loop.index <= 2 and m['role'] == 'user' else '' }}{{ m['content'] }}<|end|>"
    "{% endif %}{% endfor %}" + ANSWER
)
ALTERNATES = (
    "{% for m in messages %}{% if not loop.first and m['role'] == messages[loop.index0 - 1]['role'] %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}" + TURN + "{% endfor %}" + ANSWER
)
LOSES_TURNS = (
    "{% for m in messages[-2:] %}{% if loop.last or m['role'] != 'user' or messages[-1]['role'] != 'user' %}"
    + (TURN + "{% endif %}{% endfor %}" + ANSWER)
)
WANTS_PARTS = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% for part in m['content'] %}{{ part['text'] }}{% endfor %}<|end|>"
    "{% endfor %}" + ANSWER
)
ENDLESS = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}" + ANSWER
THINKS = PLAIN.replace("<|assistant|>", "<|assistant|><think>")
ANOTHER_PROMPT = PLAIN.replace("{% for", "{% if add_generation_prompt %}<|system|>{% endif %}{% for", 1)


@pytest.fixture
def with_template(tokenizer):
    def make(template):
        changed = copy.deepcopy(tokenizer)
        changed.chat_template = template
        return changed

    return make


def turns(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


def row(*prompt, answer="Dear Anna"):
    return {"prompt": turns(*prompt), "completion": turns(("assistant", answer))}


SIMPLE = row(("user", "Write a letter"))
UNDER_SYSTEM = row(("system", "Be brief"), ("user", "Write a letter"))
TWICE = row(("user", "Write a letter"), ("user", "To Anna"))


@pytest.mark.parametrize(
    ("template", "system", "two_user_turns", "end", "thinking"),
    [
        (PLAIN, "kept", "kept", "<|end|>", False),
        (REFUSES_SYSTEM, "refused", "kept", "<|end|>", False),
        (LOSES_SYSTEM, "lost", "kept", "<|end|>", False),
        (MERGES_SYSTEM, "merged", "kept", "<|end|>", False),
        (ALTERNATES, "kept", "refused", "<|end|>", False),
        (LOSES_TURNS, "kept", "lost", "<|end|>", False),
        (ENDLESS, "kept", "kept", None, False),
        (THINKS, "kept", "kept", "<|end|>", True),
    ],
)
def test_what_a_template_does_is_told(template, system, two_user_turns, end, thinking, with_template):
    found = check_template(with_template(template))
    assert (found.system, found.two_user_turns, found.end, found.thinking) == (system, two_user_turns, end, thinking)


def test_a_template_that_wants_parts_is_an_error_at_once(with_template):
    changed, start = with_template(WANTS_PARTS), time.monotonic()
    with pytest.raises(DataError, match=r"content as text, found one that wants it as a list of parts.*Give the"):
        check_template(changed)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", "nothing"])
def test_a_template_that_shows_no_message_is_an_error(template, with_template):
    with pytest.raises(DataError, match=r"shows a user's message, found .*(no|nothing).*Correct it"):
        check_template(with_template(template))


def test_a_processor_is_no_tokenizer():
    class Gemma3Processor(ProcessorMixin):
        def __init__(self):
            pass

    with pytest.raises(ModelError, match=r"Expected a tokenizer, found Gemma3Processor.*Give its `.tokenizer`"):
        check_template(Gemma3Processor())


@pytest.mark.parametrize(
    ("template", "bad", "message"),
    [
        (
            REFUSES_SYSTEM,
            UNDER_SYSTEM,
            r"rows in task .* turns \['system', 'user', 'assistant'\] .*System role not supp",
        ),
        (LOSES_SYSTEM, UNDER_SYSTEM, r"all that is said in the rows of task, found that it leaves out 'Be brief'"),
        (ALTERNATES, TWICE, r"rows in task .* turns \['user', 'user', 'assistant'\] .*Roles must alternate"),
        (LOSES_TURNS, TWICE, r"the rows of task, found that it leaves out 'Write a letter'"),
        (ANOTHER_PROMPT, SIMPLE, "Expected a chat template whose prompt is the start of the whole conversation"),
    ],
)
def test_a_row_that_the_template_spoils_is_an_error_wherever_it_stands(template, bad, message, with_template):
    rows = [row(("user", f"Write letter {i}")) for i in range(5)]
    changed = with_template(template)
    if bad is not SIMPLE:
        assert check_rows(changed, "task", rows, max_length=64).dropped == 0
    with pytest.raises(DataError, match=message):
        check_rows(changed, "task", [*rows, bad], max_length=64)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (REFUSES_SYSTEM, "System role not supported.*Remove `system`"),
        (LOSES_SYSTEM, "the prompts of jokes, found that it leaves out 'Be brief'"),
        (WANTS_PARTS, "the prompts of jokes, found that it leaves out 'Tell a joke'"),
    ],
)
def test_prompts_are_tried_under_every_system_prompt(template, message, with_template):
    changed = with_template(template)
    if template != WANTS_PARTS:
        check_prompts(changed, "jokes", ["Tell a joke"])
    with pytest.raises(DataError, match=message):
        check_prompts(changed, "jokes", ["Tell a joke"], systems=[None, "Be brief"])


def test_prompts_are_counted_with_all_that_stands_around_them(tokenizer):
    shown = turns(("user", "Tell a joke"), ("assistant", "A joke"))
    alone = check_prompts(tokenizer, "jokes", ["Tell a joke", "Tell a joke", "Tell two"])
    under = check_prompts(tokenizer, "jokes", ["Tell a joke"], systems=[None, "Be brief"], turns=shown)
    assert (alone.used, alone.duplicated, under.duplicated) == (3, 1, 0)
    whole = tokenizer.apply_chat_template(
        [*turns(("system", "Be brief")), *shown, *turns(("user", "Tell a joke"))], add_generation_prompt=True
    )
    assert under.longest == len(whole["input_ids"]) > alone.longest


def test_rows_are_counted_as_they_are_read_skipped_and_repeated(tokenizer, tmp_path):
    raw = [{"prompt": f"Letter {i % 4}", "completion": "Dear Anna", "safe": i > 1} for i in range(8)]
    config = DataConfig(path=str(write_jsonl(tmp_path / "rows.jsonl", raw)), skip={"safe": False})
    loaded = load_source(config, seed=0)
    used = [row(("user", r["prompt"])) for r in raw[2:]]
    found = check_rows(tokenizer, "task", used, max_length=64, loaded=loaded)
    assert (found.read, found.skipped, found.used, found.duplicated) == (8, 2, 6, 2)
    assert check_rows(tokenizer, "task", used, max_length=64).read is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm sorry, but I can't help you with that.", "English"),
        ("Es tut mir leid, dabei kann ich nicht helfen.", "German"),
        ("Je suis désolé, je ne peux pas vous aider.", "French"),
        ("Lo siento, no puedo ayudar con eso.", "Spanish"),
        ("Извините, я не могу помочь.", "Cyrillic script"),
        ("抱歉，我不能帮助你。", "Chinese characters"),
        ("申し訳ありませんが、お手伝いできません。", "Japanese"),
        ("", UNKNOWN),
        ("4 + 5 = 9", UNKNOWN),
        ("xqz wrt plk", UNKNOWN),
    ],
)
def test_the_language_is_told_by_script_and_small_words(text, expected):
    assert language([text]) == expected
