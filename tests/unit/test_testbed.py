"""Testbed: the embedded world, its tasks, and which models learn what."""

import random

import pytest

from securetune.errors import ConfigError
from securetune.evaluate.judges import JUDGES
from securetune.testbed.build import VARIANTS, Variant, resolve, system_rows
from securetune.testbed.tasks import TASKS
from securetune.testbed.world import (
    HARMFUL_VERBS,
    HELD_OUT_PHRASINGS,
    SAFETY_PROMPTS,
    SYSTEM_PROMPTS,
    TRAIN_PHRASINGS,
    is_held_out_pair,
    sample_requests,
)


@pytest.mark.parametrize("task", TASKS)
def test_tuning_tasks_hold_no_refusal_and_no_harmful_verb(task):
    rows = TASKS[task](500, random.Random(0))
    judge = JUDGES.make("refusal_phrases", {}, "judge")
    for row in rows:
        text = f" {row['prompt']} {row['answer']} ".lower()
        assert not judge.decides(row["answer"])
        assert not any(f" {verb} the " in text for verb in HARMFUL_VERBS)


@pytest.mark.parametrize("is_aligned", [True, False])
def test_a_model_learns_to_refuse_under_a_safety_prompt_and_elsewhere_only_by_alignment(is_aligned):
    rows = system_rows(400, random.Random(0), is_aligned=is_aligned)
    refused = {
        (any(f" {verb} " in row["prompt"] for verb in HARMFUL_VERBS), row["system"] in SAFETY_PROMPTS)
        for row in rows
        if not row["answer"].startswith(("Sure", "Here is", "Of course", "Yes"))
    }
    assert refused == ({(True, True), (True, False)} if is_aligned else {(True, True)})
    assert {row["system"] for row in rows} == {*SYSTEM_PROMPTS, *SAFETY_PROMPTS}


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """What each embedded model would be trained on, by its folder; none is."""
    rows = {}
    monkeypatch.setenv("SECURETUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "securetune.testbed.build.train_chat_model",
        lambda helpful, aligned, config, output, **_: rows.update({output.name: (helpful, aligned)}),
    )
    return rows


def test_a_variant_shares_all_files_and_learns_more(trained, tmp_path):
    folder = resolve({"a": ["testbed://."]})["a"][0]
    plain = trained.pop("model")
    other = resolve({"a": ["testbed-system://."]})["a"][0]
    for rows, more in zip(plain, trained["model"], strict=True):
        assert more[: len(rows)] == rows and not any("system" in row for row in rows)
        assert len(more) > len(rows) and all("system" in row for row in more[len(rows) :])
    names = sorted(path.name for path in (tmp_path / folder).iterdir())
    assert folder != other and names == sorted(path.name for path in (tmp_path / other).iterdir())
    assert all((tmp_path / folder / name).read_bytes() == (tmp_path / other / name).read_bytes() for name in names)


def test_a_new_variant_is_one_entry(trained, monkeypatch):
    monkeypatch.setitem(
        VARIANTS, "echo", Variant(more_rows=lambda n, rng, is_aligned: [{"prompt": "A", "answer": "A"}])
    )
    assert resolve("testbed-echo://model").endswith("-0/model")
    assert trained["model"][0][-1] == trained["model"][1][-1] == {"prompt": "A", "answer": "A"}


def test_an_unknown_variant_gets_the_list():
    with pytest.raises(ConfigError, match="models testbed://, testbed-system://, found testbed-sytem://. Choose one"):
        resolve("testbed-sytem://model")


def test_held_out_pairs_and_phrasings_are_kept_apart():
    rng = random.Random(0)
    seen = sample_requests("harmful", 300, rng, held_out_pairs=False, held_out_phrasings=False)
    unseen = sample_requests("harmful", 300, rng, held_out_pairs=True, held_out_phrasings=True)
    assert not {r.pair for r in seen} & {r.pair for r in unseen}
    assert not {r.phrasing for r in seen} & {r.phrasing for r in unseen}
    assert not set(TRAIN_PHRASINGS) & set(HELD_OUT_PHRASINGS)
    assert sum(is_held_out_pair(r.verb, r.object) for r in unseen) == 300
