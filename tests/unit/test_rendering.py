"""What templates and tokenizers do to rows and prompts is found before anything is trained on them."""

import copy
import time

import pytest
from transformers import ProcessorMixin

from securetune.data.config import DataConfig
from securetune.data.examples import load_source
from securetune.data.rendering import check_prompts, check_rows, check_template
from securetune.errors import DataError, ModelError
from securetune.evaluate.preflight import prompt_notes, row_faults, row_notes, template_faults, template_notes
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


ONLY_ANSWER = "{% for m in messages %}" + TURN + "{% endfor %}"
IN_ANSWERS = PLAIN.replace("{{ m['content'] }}", "{{ CHANGED if m['role'] == 'assistant' else m['content'] }}")


@pytest.mark.parametrize(
    ("change", "answer", "lost"),
    [
        ("m['content'][:12]", "Dear Anna, how are you", "Dear Anna, how are you"),
        ("m['content'] | lower", "Dear Anna", "Dear Anna"),
        ("m['content'] | e", "1 < 2 & 3", "1 < 2 & 3"),
        ("m['content'].split('</think>')[-1]", "<think>Be kind</think>Dear Anna", "Be kind"),
    ],
)
def test_an_answer_that_the_template_changes_is_an_error(change, answer, lost, with_template):
    tokenizer = with_template(IN_ANSWERS.replace("CHANGED", change))
    rows = [row(("user", "Write a letter"), answer=answer)]
    with pytest.raises(DataError, match=f"answers of letters as they are, found .* changes '{lost}'"):
        check_rows(tokenizer, "letters", rows, max_length=512)


def test_reasoning_whose_marks_the_template_writes_in_its_own_way_is_shown(with_template):
    own = "'<think>\n' + m['content'].split('<think>')[-1].split('</think>')[0].strip() + '\n</think>\n\n'"
    tokenizer = with_template(IN_ANSWERS.replace("CHANGED", f"{own} + m['content'].split('</think>')[-1].strip()"))
    rows = [row(("user", "Write a letter"), answer="<think>Be kind</think>Dear Anna")]
    assert check_rows(tokenizer, "letters", rows, max_length=512).used == 1


def test_a_turn_said_twice_and_shown_once_is_left_out(with_template):
    only_first = "{% set m = messages[0] %}" + TURN + ANSWER + (
        "{% if messages[-1]['role'] == 'assistant' %}<|assistant|>{{ messages[-1]['content'] }}<|end|>{% endif %}"
    )  # fmt: skip
    rows = [row(("user", "Write a letter"), ("assistant", "No"), ("user", "Write a letter"))]
    with pytest.raises(DataError, match="leaves out 'Write a letter'"):
        check_rows(with_template(only_first), "letters", rows, max_length=512)


def test_a_template_that_leaves_the_model_to_open_its_own_turn_is_an_error(with_template):
    with pytest.raises(DataError, match=r"opens the assistant's turn .* '<\|assistant\|>' with the answer alone"):
        check_template(with_template(ONLY_ANSWER))


def test_rows_whose_text_holds_a_special_token_are_counted_and_told_of(tokenizer):
    rows = [SIMPLE, row(("user", "What is <|end|>?")), row(("user", "Write"), answer="Dear <|end|> Anna")]
    found = check_rows(tokenizer, "letters", rows, max_length=512)
    assert found.marked == 2
    assert any("2 of 3 rows of letters hold a special token" in note for note in row_notes(found, 512))


PLAIN_LAST = (
    "{% for m in messages %}{% if m['role'] != 'assistant' or loop.last %}" + TURN + "{% endif %}{% endfor %}" + ANSWER
)
CUTS_THOUGHTS = PLAIN.replace("m['content']", "(m['content'] if loop.last else m['content'].split('</think>')[-1])")
LONG = row(("user", "Write a letter"), ("assistant", "To whom?"), ("user", "Anna"))
DATED = "{{ strftime_now('%d %b %Y') }}" + PLAIN
TIMED = "{{ strftime_now('%Y-%m-%d %H:%M:%S') }}" + PLAIN
MAY_DATE = "{% if date is not defined %}{% set date = strftime_now('%d %b %Y') %}{% endif %}{{ date }}" + PLAIN


@pytest.mark.parametrize(("template", "earlier"), [(PLAIN, "kept"), (CUTS_THOUGHTS, "kept"), (PLAIN_LAST, "lost")])
def test_what_becomes_of_earlier_answers_is_told(template, earlier, with_template):
    assert check_template(with_template(template)).earlier_answers == earlier


def test_rows_whose_earlier_answers_vanish_are_an_error(with_template):
    changed = with_template(PLAIN_LAST)
    assert check_rows(changed, "letters", [SIMPLE], max_length=512).used == 1
    with pytest.raises(DataError, match="leaves out .To whom?."):
        check_rows(changed, "letters", [SIMPLE, LONG], max_length=512)
    assert template_notes(check_template(changed))[0].startswith("The chat template leaves out earlier turns")


def test_reasoning_of_earlier_answers_may_be_left_out_and_is_told_of(with_template):
    rows = [SIMPLE, row(("user", "Write"), ("assistant", "<think>Who?</think>To whom?"), ("user", "Anna"))]
    found = check_rows(with_template(CUTS_THOUGHTS), "letters", rows, max_length=512)
    assert found.unthought == 1
    assert "1 of 2 rows of letters have reasoning in earlier answers" in row_notes(found, 512)[0]
    assert check_rows(with_template(PLAIN), "letters", rows, max_length=512).unthought == 0


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (PLAIN, "none"),
        (DATED, "day"),
        (TIMED, "moment"),
        (MAY_DATE, "day"),
        ("{% set date = '1 May' %}" + MAY_DATE, "none"),
        ("{% set unused = strftime_now('%H:%M') %}" + PLAIN, "none"),
        ("{{ range(1000) | random }}" + PLAIN, "moment"),
    ],
)
def test_a_template_that_writes_the_time_is_told_of(template, expected, with_template):
    found = check_template(with_template(template))
    assert found.clock == expected
    assert any("today's date" in note for note in template_notes(found)) == (expected == "day")
    assert any("from one moment to the next" in fault for fault in template_faults(found)) == (expected == "moment")


def test_an_end_that_is_missing_in_long_conversations_alone_is_a_fault(with_template):
    ends_early = PLAIN.replace(
        "<|end|>", "{% if messages | length <= 2 or m['role'] != 'assistant' %}<|end|>{% endif %}"
    )
    found = check_rows(with_template(ends_early), "letters", [SIMPLE, LONG], max_length=512)
    assert found.endless == 1
    assert "behind the answer in 1 of 2 rows of letters" in row_faults([found])[0]
    assert not row_faults([check_rows(with_template(PLAIN), "letters", [SIMPLE, LONG], max_length=512)])


@pytest.mark.parametrize("answer", ["e", "n", "<|", "end"])
def test_an_answer_that_stands_in_the_end_token_too_has_its_end(answer, tokenizer):
    assert check_rows(tokenizer, "letters", [row(("user", "Which?"), answer=answer)], max_length=512).endless == 0


def test_prompts_that_hold_a_special_token_are_counted_and_told_of(tokenizer):
    found = check_prompts(tokenizer, "jokes", ["Tell a joke", "Tell <|end|> one"])
    assert found.marked == 1 and "1 of 2 prompts of jokes hold a special token" in prompt_notes(found)[0]


def test_an_end_that_is_not_marked_as_special_counts_as_one(with_template, tokenizer):
    changed = with_template(PLAIN.replace("<|end|>", "<eot>"))
    changed.add_tokens(["<eot>"])
    assert check_prompts(changed, "jokes", ["Tell <eot> one"]).marked == 1


@pytest.mark.parametrize("word", ["user", "assistant", "end", "<|"])
def test_a_system_prompt_that_is_a_word_of_the_template_is_missed_all_the_same(word, with_template):
    changed = with_template(LOSES_SYSTEM)
    with pytest.raises(DataError, match=r"all turns of the prompts of jokes.*leaves out turn 1"):
        check_prompts(changed, "jokes", ["Tell a joke"], systems=[word])
    with pytest.raises(DataError, match=r"all turns of the rows of task.*leaves out turn 1"):
        check_rows(changed, "task", [row(("system", word), ("user", "Write a letter"))], max_length=64)
    assert check_prompts(with_template(PLAIN), "jokes", ["Tell a joke"], systems=[word]).used == 1


def test_turns_that_an_attack_puts_before_a_prompt_have_to_be_shown(with_template):
    shown = turns(("user", "Tell a joke"), ("assistant", "A joke"))
    with pytest.raises(DataError, match="leaves out turn 2"):
        check_prompts(with_template(PLAIN_LAST), "jokes", ["Tell another"], turns=shown)


def test_an_answer_that_is_all_reasoning_has_its_end_too(tokenizer):
    rows = [row(("user", "Write"), answer="<think>Be kind")]
    assert check_rows(tokenizer, "letters", rows, max_length=512).endless == 0
