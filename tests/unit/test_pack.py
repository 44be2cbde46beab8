"""The prompt pack: a run needs no prompts of the user's, its splits work, and the two halves never meet."""

import difflib
import json
from collections import Counter

import pytest

from securetune.base.fingerprint import fingerprint
from securetune.base.places import PACK, expanded
from securetune.config import AnalysisConfig, PromptsConfig, parse_config
from securetune.data.prompts import load_prompts
from securetune.errors import DataError
from securetune.scan.probe import split_prompts

HARMFUL, TWINS, ORDINARY = ([json.loads(line) for line in expanded(f"securetune:{name}").open()] for name in PACK)


def test_the_pack_is_as_large_and_as_broad_as_its_card_says():
    assert (len(HARMFUL), len(TWINS), len(ORDINARY)) == (252, 252, 150)
    assert set(Counter(row["category"] for row in HARMFUL).values()) == {18}
    assert len({row["category"] for row in HARMFUL}) == 14 and len({row["template"] for row in HARMFUL}) == 21
    assert len({row["prompt"] for row in (*HARMFUL, *TWINS, *ORDINARY)}) == 252 + 252 + 150
    assert not any(set(row) & {"answer", "output", "completion", "response"} for row in (*HARMFUL, *TWINS, *ORDINARY))


def changed_words(harmful, twin):
    words = [row["prompt"].lower().split() for row in (harmful, twin)]
    steps = difflib.SequenceMatcher(None, *words).get_opcodes()
    return sum(max(b - a, d - c) for kind, a, b, c, d in steps if kind != "equal")


def test_a_twin_differs_in_a_word_or_two_and_has_the_labels_of_its_harmful_request():
    pairs = list(zip(HARMFUL, TWINS, strict=True))
    assert all(a[name] == b[name] for a, b in pairs for name in ("category", "template", "pair"))
    assert Counter(changed_words(*pair) for pair in pairs) == {1: 84, 2: 144, 3: 24}


def test_a_run_without_prompts_of_its_own_reads_one_half_and_is_asked_the_other():
    config = parse_config({"model": "m", "output": "o", "task": {"train": {"path": "rows.jsonl"}}}, "test")
    read = [config.analysis.malicious, config.analysis.benign]
    texts = [{p.text for p in load_prompts(part.path, half=part.half)} for part in (*read, *config.benchmarks)]
    assert [len(part) for part in texts] == [126, 126, 126, 126, 150]
    assert len(set().union(*texts)) == sum(map(len, texts))
    assert [benchmark.kind.name for benchmark in config.benchmarks] == ["harmful", "benign", "benign"]


def test_whole_templates_and_pairs_of_the_pack_are_held_out_from_the_probe():
    sides = [load_prompts(f"securetune:{name}", half="even") for name in ("harmful", "twins")]
    prompts = [prompt for side in sides for prompt in side]
    split = split_prompts(prompts, [1] * len(sides[0]) + [0] * len(sides[1]), seed=0)
    assert [kind for kind in ("both", "template", "pair") if split.tests[kind]] == ["both", "template", "pair"]


def test_the_pack_counts_by_its_content_and_an_unknown_set_is_an_error():
    assert fingerprint(AnalysisConfig()) != fingerprint(
        AnalysisConfig(benign=PromptsConfig(path="securetune:ordinary"))
    )
    with pytest.raises(DataError, match="Expected a file of rows at securetune:harmfull, found"):
        load_prompts("securetune:harmfull")
