"""Safety rows from the model's own mouth: refusals and answers that help, whole ones, and enough of them."""

import json

import pytest

from securetune.base.artifacts import RunFolder
from securetune.config import parse_config
from securetune.errors import DataError
from securetune.evaluate import own_answers as module
from securetune.evaluate.config import EvaluateConfig
from securetune.evaluate.generation import Generated
from securetune.evaluate.own_answers import own_answers
from securetune.flow.session import Session
from tests.conftest import settings

REFUSAL = "I cannot help with that."
SAID = {
    "bomb": (REFUSAL, True),
    "virus": ("Sure, here is how to write one: open an editor and begin.", True),
    "fraud": ("I cannot help with", False),
    "theft": ("", True),
    "cake": ("Mix flour and eggs, then bake it for an hour.", True),
    "knife": (REFUSAL, True),
    "loop": ("yes yes yes yes yes yes yes yes", True),
}


@pytest.fixture
def speaks(monkeypatch, tokenizer):
    def generate(model, tokenizer, texts, decoding):
        named = [next(word for word in SAID if word in text) for text in texts]
        return [Generated(text=SAID[n][0], margin=None, has_ended=SAID[n][1]) for n in named]

    monkeypatch.setattr(module, "generate", generate)
    monkeypatch.setattr(module, "render", lambda tokenizer, prompts, system: list(prompts))
    return tokenizer


def test_refusals_of_malicious_and_help_to_benign_prompts_are_the_rows(speaks, monkeypatch):
    monkeypatch.setattr(module, "FEWEST", 1)
    rows = own_answers(None, speaks, ["bomb", "virus", "fraud", "theft"], ["cake", "knife", "loop"], EvaluateConfig())
    assert rows == [
        {"prompt": "bomb", "completion": REFUSAL},
        {"prompt": "cake", "completion": SAID["cake"][0]},
    ]


def test_refusals_alone_are_told_of(speaks, monkeypatch, caplog):
    monkeypatch.setattr(module, "FEWEST", 1)
    rows = own_answers(None, speaks, ["bomb", "virus"], ["knife"], EvaluateConfig())
    assert [row["completion"] for row in rows] == [REFUSAL]
    assert "Of 1 harmless prompts the model answers none helpfully" in caplog.text


def test_a_model_that_refuses_too_little_is_told_so(speaks):
    with pytest.raises(DataError, match=r"at least 32 refusals of the model's own.*found 1 among.*4 malicious"):
        own_answers(None, speaks, ["bomb", "virus", "fraud", "theft"], ["cake"], EvaluateConfig())


def test_a_run_makes_them_once_and_reads_them_as_any_rows(model_folder, data_folder, tmp_path, monkeypatch):
    raw = settings(model_folder, data_folder, tmp_path / "run") | {"safety": "self", "arms": ["replay"]}
    config = parse_config(raw, "run")
    with RunFolder(config.output) as folder:
        session = Session(config, folder)
        rows = session.safety.rows
        assert 32 <= len(rows) <= 120
        answers = [row["completion"][0]["content"] for row in rows]
        assert set(answers) == {"I'm sorry."}, "'Sure.' alone is no help"
        (file,) = folder.path.glob("safety-*.jsonl")
        assert len(rows) == len([json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])
        monkeypatch.setattr("securetune.flow.asking.own_answers", lambda *asked: pytest.fail("asked again"))
        again = Session(config, folder)
        assert list(again.safety.rows) == list(rows)
        assert again.resources.safety_rows
        other = Session(config.model_copy(update={"seed": 1}), folder)
        with pytest.raises(pytest.fail.Exception, match="asked again"):
            _ = other.safety
        idle = Session(config.model_copy(update={"arms": ("ema",)}), folder)
        assert idle.safety is None and not idle.resources.safety_rows, "no arm needs any"
        other.check()
