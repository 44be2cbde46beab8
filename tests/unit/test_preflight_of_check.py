"""A check looks at the template, at the room and at the kinds of its prompts before any model answers."""

import logging

import pytest

from securetune.base.artifacts import RunFolder
from securetune.doors.check import check_settings
from securetune.doors.checking import Checking
from securetune.errors import ConfigError, DataError
from tests.conftest import settings as run_settings
from tests.conftest import tiny_llama, write_jsonl
from tests.unit.test_rendering import ALTERNATES, ENDLESS, LOSES_SYSTEM, PLAIN, REFUSES_SYSTEM, WANTS_PARTS

CUTS = PLAIN.replace("m['content']", "m['content'][:12]")
MOMENT = PLAIN.replace("{% for", "{{ strftime_now('%H:%M:%S.%f') }}{% for", 1)
TODAY = PLAIN.replace("{% for", "{{ strftime_now('%d %b %Y') }}{% for", 1)
UNOPENED = PLAIN.replace("{% if add_generation_prompt %}<|assistant|>{% endif %}", "")


@pytest.fixture
def checking(tokenizer, data_folder, tmp_path):
    """Everything that a check does before it loads weights."""

    def check(template=PLAIN, own=None, **settings):
        for name, text in (("before", template), ("after", template if own is None else own)):
            tiny_llama(len(tokenizer), seed=len(name)).save_pretrained(tmp_path / name)
            tokenizer.save_pretrained(tmp_path / name)
            (tmp_path / name / "chat_template.jinja").write_text(text)
        raw = run_settings("", data_folder, "")
        given = {name: raw[name] for name in ("analysis", "benchmarks", "evaluate")} | settings
        config = check_settings(tmp_path / "before", tmp_path / "after", output=tmp_path / "out", settings=given)
        with RunFolder(config.output) as folder:
            Checking(config, folder).check()

    return check


def prefilled(data_folder, text):
    benchmarks = run_settings("", data_folder, "")["benchmarks"]
    return [benchmarks[0] | {"attack": {"name": "prefill", "text": text}}, benchmarks[1]]


@pytest.mark.parametrize(
    ("template", "settings", "message"),
    [
        (REFUSES_SYSTEM, {"evaluate.system": "Be kind"}, "System role not supported"),
        (LOSES_SYSTEM, {"evaluate.system": "Be kind"}, "leaves out 'Be kind'"),
        (CUTS, {}, "shows a user's message|leaves out"),
        (WANTS_PARTS, {}, "takes a message's content as text"),
        (ENDLESS, {}, "puts no end token behind an answer"),
        (MOMENT, {}, "differently from one moment to the next"),
        (UNOPENED, {}, "opens the assistant's turn"),
        (PLAIN, {"evaluate.max_new_tokens": 1000}, "harmful needs .* places for 256"),
    ],
)
def test_a_check_is_refused_where_its_prompts_cannot_be_put(checking, template, settings, message):
    with pytest.raises((ConfigError, DataError), match=message):
        checking(template, **settings)


def test_turns_of_an_attack_that_the_template_refuses_end_a_check(checking, data_folder):
    benchmarks = run_settings("", data_folder, "")["benchmarks"]
    benchmarks[0] |= {"attack": {"name": "in_context", "path": str(data_folder / "task.jsonl")}}
    short = "{% if messages | length > 3 %}{{ raise_exception('Too long') }}{% endif %}" + PLAIN
    with pytest.raises(DataError, match="Too long"):
        checking(short, benchmarks=benchmarks)
    checking(ALTERNATES)


def test_the_beginning_of_an_answer_takes_room_too(checking, data_folder):
    checking(benchmarks=prefilled(data_folder, "Sure"))
    with pytest.raises(ConfigError, match="harmful needs .* places for 256"):
        checking(benchmarks=prefilled(data_folder, "Sure, here it is. " * 40))


def test_rows_of_a_task_that_have_no_room_end_a_check(checking, tmp_path):
    rows = [{"prompt": f"Write a letter {number}", "completion": "Dear Anna " * 200} for number in range(20)]
    task = {"rows": {"path": str(write_jsonl(tmp_path / "long.jsonl", rows))}, "max_length": 400}
    with pytest.raises(ConfigError, match="task needs 400 tokens with its answer"):
        checking(task=task)


def test_rows_of_a_task_that_are_too_long_name_the_checks_own_field(checking, tmp_path):
    rows = [{"prompt": "Write a letter " * 9, "completion": "Dear Anna"} for _ in range(20)]
    task = {"rows": {"path": str(write_jsonl(tmp_path / "long.jsonl", rows))}, "max_length": 8}
    with pytest.raises(DataError, match=r"within 8 tokens in task, found none of 20: .* Raise task\.max_length\."):
        checking(task=task)


def test_a_tuned_model_with_a_template_of_its_own_is_told_of(checking, caplog):
    caplog.set_level(logging.WARNING)
    checking(own="{# the same #}" + PLAIN)
    assert "another chat template" not in caplog.text
    checking(own=PLAIN.replace("<|user|>", "USER: ").replace("<|{{ m['role'] }}|>", "{{ m['role'] | upper }}: "))
    assert "after has another chat template than" in caplog.text


def test_a_template_with_the_date_and_prompts_with_marks_are_told_of(checking, data_folder, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    benchmarks = run_settings("", data_folder, "")["benchmarks"]
    marked = write_jsonl(tmp_path / "marked.jsonl", [{"prompt": f"How{number}?<|end|>"} for number in range(3)])
    checking(TODAY, benchmarks=[benchmarks[0], benchmarks[1] | {"path": str(marked)}])
    assert "writes today's date" in caplog.text and "3 of 3 prompts of benign hold a special token" in caplog.text


@pytest.mark.parametrize("place", ["benchmarks", "analysis"])
def test_prompts_cannot_be_both_harmful_and_benign(checking, data_folder, place):
    raw = run_settings("", data_folder, "")
    same = str(data_folder / "harmful.jsonl")
    if place == "benchmarks":
        raw["benchmarks"] = [benchmark | {"path": same, "limit": None} for benchmark in raw["benchmarks"]]
    else:
        raw["analysis"]["benign"] = {"path": same}
    with pytest.raises(ConfigError, match="found 60 that stand in both"):
        checking(**{place: raw[place]})
