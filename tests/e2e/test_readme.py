"""README's blocks are run as they stand, with `MODEL` and `TUNED` replaced; only the doors stop before their work."""

import re
import shlex
import shutil

import pytest
import yaml
from datasets import load_dataset
from transformers import AutoModelForCausalLM
from trl import SFTConfig
from typer.testing import CliRunner

import securetune
from securetune.cli.app import app
from tests.conftest import settings
from tests.e2e.test_docs import ROOT, blocks

README = blocks(ROOT / "README.md")
PLACES = {"MODEL": "my-model", "TUNED": "my-adapter"}
DOORS = {"check": "checked", "tune": "tuned", "repair": "repaired"}


class AtWork(Exception):
    """A door has accepted everything and begins."""


def commands(*names):
    """Words of the commands of README's one block that has all of these."""
    (text,) = [text for kind, text in README if kind == "bash" and all(f"securetune {name}" in text for name in names)]
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [[PLACES.get(word, word) for word in line[1:]] for line in lines]


def snippet(word):
    (text,) = [text for kind, text in README if kind == "python" and word in text]
    return text


@pytest.fixture(scope="module")
def place(model_folder, data_folder, tmp_path_factory):
    """A folder with a model, rows, and a finished run by the commands of README's last block."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copytree(model_folder, folder / "my-model")
        shutil.copy(data_folder / "task.jsonl", folder / "rows.jsonl")
        own = settings(folder / "my-model", data_folder, folder / "runs/mine") | {"arms": ["none", "ml_lr"]}
        for words in commands("init", "new", "config", "preflight", "run", "gate", "publish"):
            if words[0] == "preflight":  # the copied configuration is of a model that is not here
                (folder / "run.yaml").write_text(yaml.safe_dump(own))
            ended = CliRunner().invoke(app, words)
            assert ended.exit_code == 0 or (words[0] == "gate" and ended.exit_code == 1), (words, repr(ended.exception))
        shutil.copytree(folder / "out", folder / "my-adapter")
    return folder


def test_no_block_is_left_out():
    kinds = [kind for kind, _ in README]
    assert kinds.count("python") == 2 and kinds.count("bash") == 3 and set(kinds) == {"python", "bash", "text"}


def test_what_make_is_asked_for_is_there():
    targets = re.findall(r"^make (\w+)", next(text for _, text in README if "make demo" in text), re.MULTILINE)
    assert targets and all(
        re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for target in targets
    )


def test_the_configuration_is_written_and_the_run_published(place):
    for name in ("mine.yaml", "runs/mine/09-report.html", "out/adapter_config.json", "out/README.md"):
        assert (place / name).is_file(), name


@pytest.mark.parametrize("words", commands("check", "tune", "repair"), ids=lambda words: words[0])
def test_a_door_accepts_its_command(words, place, monkeypatch):
    def begin(*_, **__):
        raise AtWork

    monkeypatch.setattr(f"securetune.doors.{DOORS[words[0]]}.carry_out", begin)
    monkeypatch.chdir(place)
    ended = CliRunner().invoke(app, words)
    assert isinstance(ended.exception, AtWork), ended.output or repr(ended.exception)


def test_the_check_in_python_gives_what_is_said(place, monkeypatch):
    monkeypatch.chdir(place)
    names = {}
    exec(compile(snippet("securetune.check"), "README.md", "exec"), names)
    checked = names["checked"]
    told = re.findall(r"\.(\w+)(\(\"[\w.]+\"\))?(?=[,;])", snippet("securetune.check").partition("#")[2])
    assert [name for name, _ in told] == ["verdict", "asr", "report"]
    for name, call in told:
        assert eval(f"checked.{name}{call}", {"checked": checked})
    assert (place / "page.html").is_file()
    assert callable(securetune.tune) and callable(securetune.repair)


def test_two_lines_attach_a_plan_to_a_trainer(place, monkeypatch):
    monkeypatch.chdir(place)
    names = {
        "model": AutoModelForCausalLM.from_pretrained("my-model"),
        "args": SFTConfig(output_dir="tuned", max_steps=2, lr_scheduler_type="constant", report_to="none", bf16=False),
        "rows": load_dataset("json", data_files="rows.jsonl", split="train", cache_dir=str(place / "cache")),
    }
    exec(compile(snippet("securetune.attach"), "README.md", "exec"), names)
    assert names["trainer"].state.global_step == 2
    assert len({group["lr"] for group in names["trainer"].optimizer.param_groups}) > 1
