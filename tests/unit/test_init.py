"""Is what `init` writes a configuration that `run` takes, with a word on every field?"""

import json

import pytest
import yaml

from securetune.base.documented import field_docs, first_sentence
from securetune.base.strict import Strict
from securetune.config import RunConfig, parse_config, read_yaml
from securetune.doors.tune import Request, tune_settings
from securetune.train.config import TrainConfig


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Say {n}.", "completion": f"{n}!"}) + "\n" for n in range(100)))
    return str(path)


@pytest.mark.parametrize("words", [[], ["--full"], ["--defence", "none", "--epochs", "3", "-s", "train.lora_rank=4"]])
def test_what_is_written_is_the_run_of_tune(command, model_folder, rows, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    assert command("init", model_folder, rows, "mine.yaml", *words) == (0, "")
    assert command("config", "mine.yaml")[0] == 0
    request = Request(
        model=str(model_folder),
        rows=rows,
        output=tmp_path / "runs" / "rows",
        full="--full" in words,
        defence="none" if "none" in words else None,
        epochs=3.0 if "3" in words else 1.0,
        settings={"train.lora_rank": 4} if "--epochs" in words else {},
    )
    written, wanted = (parse_config(raw, "it") for raw in (read_yaml("mine.yaml"), tune_settings(request)))
    assert written.output == "runs/rows"
    assert written.model_copy(update={"output": wanted.output}) == wanted


@pytest.mark.parametrize("system", ["two\nlines\n", "...", "a: b # c", "\u00e9", "1e-5", "null"])
def test_a_text_of_any_kind_comes_back(command, model_folder, rows, tmp_path, system):
    file = tmp_path / "mine.yaml"
    words = ["-s", f"evaluate.system={json.dumps(system)}", "-s", "train.learning_rate=1.0e-5"]
    assert command("init", model_folder, rows, file, *words) == (0, "")
    config = parse_config(read_yaml(file), "it")
    assert (config.evaluate.system, config.train.learning_rate) == (system, 1e-5)


def test_every_field_has_a_word_above_it(command, model_folder, rows, tmp_path):
    file = tmp_path / "mine.yaml"
    command("init", model_folder, rows, file)
    lines = file.read_text().splitlines()
    assert lines[0] == f"# securetune run {file}"
    fields = [n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(("#", "-"))]
    assert len(fields) > 25
    assert [lines[n] for n in fields if not lines[n - 1].lstrip().startswith("#") and not lines[n].endswith(":")] == []
    assert "  # Rank r of the adapters." in lines
    assert set(TrainConfig.model_fields) == set(yaml.safe_load(file.read_text())["train"])


def test_a_file_that_is_there_is_left_alone(command, model_folder, rows, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("mine")
    code, text = command("init", model_folder, rows, file)
    assert code == 2 and "Expected a new file, found" in text and file.read_text() == "mine"
    code, text = command("init", model_folder, rows, tmp_path / "absent" / "mine.yaml")
    assert code == 2 and "Expected a folder at" in text


def test_a_model_or_rows_that_cannot_be_used_leave_no_file(command, model_folder, rows, tmp_path):
    file = tmp_path / "mine.yaml"
    assert command("init", tmp_path / "absent", rows, file)[0] == 2
    assert command("init", model_folder, "absent.jsonl", file)[0] == 2
    assert command("init", model_folder, rows, file, "--defence", "emma")[0] == 2
    assert not file.exists()


class Below(Strict):
    inherited: int = 1
    """Said below. More of it."""
    bare: int = 2


class Above(Below):
    own: int = 3
    """Said
    above."""


def test_docstrings_are_read_of_ours_alone():
    assert field_docs(Above) == {}, "a class of somebody else's"
    assert field_docs(RunConfig)["seed"] == "Seed of prompts, draws, data order and adapters."
    assert "label" in field_docs(type(RunConfig.model_fields["benchmarks"].default[0])), "of the class below"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two.", "One."),
        ("Size alpha / r, see 3.2 of it; so.\n\nMore.", "Size alpha / r, see 3.2 of it; so."),
        ("No end", "No end"),
    ],
)
def test_the_first_sentence_ends_at_its_full_stop(text, first):
    assert first_sentence(text) == first
