"""Data formats, prompts, the probe's split and the embedded world."""

import json
import random

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from securetune.base.artifacts import RunFolder
from securetune.config import parse_config
from securetune.data.config import DataConfig
from securetune.data.examples import load_examples
from securetune.data.prompts import Prompt, load_prompts
from securetune.errors import ConfigError, DataError, ProbeError
from securetune.evaluate.judges import JUDGES
from securetune.flow.session import Session
from securetune.scan.probe import fit_probe, split_prompts
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
from tests.conftest import SHARED_DATA, settings, write_jsonl

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


def test_probe_split_shares_no_template_and_no_pair_with_the_both_part():
    rng = random.Random(0)
    prompts, labels = [], []
    for label, intent in ((1, "harmful"), (0, "benign")):
        for r in sample_requests(intent, 200, rng, held_out_pairs=None, held_out_phrasings=None):
            prompts.append(Prompt(text=r.text, id="x", template=r.phrasing, pair=r.pair))
            labels.append(label)
    split = split_prompts(prompts, labels, seed=0)
    assert sorted([*split.train, *(i for rows in split.tests.values() for i in rows)]) == list(range(400))
    for field in ("template", "pair"):
        seen = {getattr(prompts[i], field) for i in split.train}
        assert not seen & {getattr(prompts[i], field) for i in split.tests["both"]}
    assert not {prompts[i].pair for i in split.train} & {prompts[i].pair for i in split.tests["pair"]}


def test_probe_separates_what_is_separable_and_only_that():
    rng = np.random.default_rng(0)
    labels = np.array([1] * 50 + [0] * 50)
    features = rng.normal(size=(100, 5)) + labels[:, None] * 4
    probe = fit_probe(features, labels)
    assert probe.accuracy(features, labels) > 0.98
    assert probe.auroc(features, labels) == roc_auc_score(labels, probe.score(features))
    noise = rng.normal(size=(400, 5))
    assert abs(probe.auroc(noise, np.array([1, 0] * 200)) - 0.5) < 0.1
    with pytest.raises(ProbeError, match="malicious and benign"):
        fit_probe(features, np.ones(100))


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


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the shared evaluation data are not beside this checkout")
def test_real_files_are_read():
    assert len(load_prompts(SHARED_DATA / "overrefusal/xstest.jsonl", label="safe")) > 200
    assert len(load_prompts(SHARED_DATA / "harmful/advbench.jsonl", half="odd")) == 256
    for name in ("alpaca", "gsm8k_test", "dolly"):
        assert len(load_examples(DataConfig(path=str(SHARED_DATA / f"instructions/{name}.jsonl")), seed=0)) > 1000


def test_the_seed_of_a_run_reaches_its_scan_unless_the_scan_has_its_own(model_folder, data_folder, tmp_path):
    raw = settings(model_folder, data_folder, tmp_path) | {"seed": 3}
    for scan, seed in (({}, 3), ({"seed": 0}, 0)):
        config = parse_config(raw | {"scan": raw["scan"] | scan}, "test")
        assert Session(config, RunFolder(tmp_path)).scan.seed == seed
