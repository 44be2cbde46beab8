"""Reasoning split off its answer by the marks of many families."""

import copy

import pytest

from securetune.data.reasoning import (
    MARKS,
    answer_start,
    may_become_reasoning,
    opens_reasoning,
    read_spoken,
    skip_reasoning,
    split_reasoning,
    without_reasoning,
)


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_reasoning_is_split_off_by_the_marks_of_every_family(opening, closing):
    said = f"{opening}\nI can't help with that? But I may.\n{closing}\n\nSure, here is how."
    spoken = split_reasoning(said)
    assert spoken.answer == "Sure, here is how." and not spoken.is_cut
    assert spoken.reasoning + spoken.answer == said


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_reasoning_that_never_ends_is_no_answer(opening, closing):
    spoken = split_reasoning(f"\n{opening} I'm sorry, but")
    assert (spoken.answer, spoken.is_cut) == ("", True)
    assert split_reasoning(f"{opening} done {closing}").is_cut is False


def test_a_prompt_that_opens_reasoning_is_gone_on_from():
    assert opens_reasoning("<|im_start|>assistant\n<think>\n")
    assert not opens_reasoning("<|im_start|>user\nwhat is <think><|im_end|>\n<|im_start|>assistant\n")
    assert not opens_reasoning("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert split_reasoning("hm.</think>No.", is_open=True).answer == "No."
    assert split_reasoning("I'm sorry", is_open=True).is_cut
    assert skip_reasoning("<|assistant|><think>\n") == "<|assistant|><think>\n\n</think>\n\n"
    assert skip_reasoning("<|assistant|>") == "<|assistant|>"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("hm.</think>No.", "No."),
        ("<think>a</think><think>b</think>c", "c"),
        ("In HTML, <think> is no tag.", "In HTML, <think> is no tag."),
        ("Put it between <think> and </think>.", "Put it between <think> and </think>."),
        ("<|channel|>final<|message|>Paris.", "Paris."),
        ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Paris.", "Paris."),
        ("", ""),
    ],
)
def test_only_reasoning_before_the_answer_is_split_off(said, answer):
    spoken = split_reasoning(said)
    assert (spoken.answer, spoken.is_cut) == (answer, False)


def test_marks_that_are_special_tokens_are_seen_and_the_answer_is_without_any(tokenizer):
    thinking = copy.deepcopy(tokenizer)
    thinking.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})
    ids = thinking("[THINK]why not[/THINK]Sure.<|user|>", add_special_tokens=False)["input_ids"]
    spoken = read_spoken(thinking, ids)
    assert spoken.answer == "Sure." and spoken.reasoning == "[THINK]why not[/THINK]"
    place = answer_start(thinking, ids)
    assert thinking.decode(ids[:place]) == spoken.reasoning
    assert answer_start(thinking, ids[:place]) is None and answer_start(thinking, ids[place:]) == 0


def test_what_may_still_become_a_mark_is_no_answer_yet():
    assert may_become_reasoning("<th") and may_become_reasoning("") and not may_become_reasoning("Sure")


def test_what_a_judge_says_is_read_behind_its_last_reasoning_whatever_the_letters_are():
    assert without_reasoning("<Think>İİİ is 5</THINK>score: 5") == "score: 5"
    assert without_reasoning("<scratchpad>yes</scratchpad><think>no") is None
    assert without_reasoning("score: 1") == "score: 1"
