"""Publishing: what goes out is what was measured, and names nothing of this machine."""

import json
import os
from types import SimpleNamespace

import pytest
import yaml

from securetune.base.artifacts import Product, RunFolder
from securetune.errors import ArtifactError, ConfigError
from securetune.measures.kinds import BENIGN, HARMFUL
from securetune.report.card import hub_id
from securetune.report.publish import publish
from securetune.report.reading import read_run
from tests.results import answered, store
from tests.unit.test_configs import minimal_run


@pytest.fixture
def run(tmp_path):
    path, base = tmp_path / "run", tmp_path / "base model"
    base.mkdir()
    sets = [answered(HARMFUL, 3, 10), answered(BENIGN, 1, 10)]
    for arm in ("base", "none", "ml_lr", "swat"):
        store(path, arm, sets, 1.0, is_defence=arm not in ("base", "none"))
    folder = RunFolder(path)
    data = folder.needed("train", "ml_lr").data
    adapter = folder.file("train", "ml_lr", "")

    def train():
        adapter.mkdir()
        (adapter / "adapter_model.safetensors").write_bytes(b"ours")
        (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base), "r": 8}))
        for name in ("training_args.bin", "README.md"):
            (adapter / name).write_text(str(base))
        return Product(data=data, files=[adapter])

    folder.produce("train", {"again": "1"}, train, variant="ml_lr")
    (path / "config.yaml").write_text(yaml.safe_dump(minimal_run(model=str(base), arms=["none", "ml_lr"])))
    return path


def published(run, output, arm="ml_lr", base_model=None):
    publish(read_run(run, arms=[arm]), arm, output, base_model)
    return {path.name: path.read_text() for path in output.iterdir()}


def test_an_adapter_goes_out_with_its_card_and_nothing_of_this_machine(run, tmp_path):
    files = published(run, tmp_path / "out")
    assert set(files) == {"adapter_model.safetensors", "adapter_config.json", "README.md"}
    assert files["adapter_model.safetensors"] == "ours"
    assert json.loads(files["adapter_config.json"]) == {"base_model_name_or_path": None, "r": 8}
    assert "base_model" not in files["README.md"] and "Tuned from a model that is not on the Hub" in files["README.md"]
    assert not any(str(tmp_path) in text for text in files.values())


def test_a_base_model_can_be_named(run, tmp_path):
    files = published(run, tmp_path / "out", base_model="me/mine")
    assert "base_model: me/mine" in files["README.md"] and "Tuned from me/mine" in files["README.md"]
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "me/mine"


@pytest.mark.parametrize("change", ["swapped", "added", "gone"])
def test_an_adapter_that_was_not_measured_does_not_go_out(run, tmp_path, change):
    weights = run / "07-train-ml_lr" / "adapter_model.safetensors"
    if change == "swapped":
        weights.write_bytes(b"theirs")
    elif change == "added":
        weights.with_name("more.safetensors").write_bytes(b"theirs")
    else:
        weights.unlink()
    with pytest.raises(ArtifactError, match=r"Expected .*07-train-ml_lr as the stage train left it .*finish the run"):
        published(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_arm_that_an_earlier_configuration_left_does_not_go_out(run, tmp_path):
    with pytest.raises(ArtifactError, match=r"arm of the run's configuration, found 'swat', which an earlier one"):
        published(run, tmp_path / "out", arm="swat")


def test_a_folder_that_is_there_is_left_alone(run, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="Expected a new folder"):
        published(run, tmp_path / "out")


def test_a_path_is_no_id_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("models/mine")
    paths = ["/tmp/model", "./model", "../model", "~/model", "models/mine", "a/b/c", "C:\\models\\mine", "file://m"]
    assert [hub_id(path) for path in paths] == [None] * len(paths)
    assert hub_id("meta-llama/Llama-3.2-1B") == "meta-llama/Llama-3.2-1B" and hub_id("gpt2") == "gpt2"


@pytest.fixture
def hub(monkeypatch):
    """A hub that notes what it is asked, and refuses what it is told to."""

    class Hub:
        asked: list = []
        refuses: dict = {}
        is_private = True

        def _do(self, name, **what):
            self.asked.append((name, what))
            if name in self.refuses:
                raise OSError(self.refuses[name])

        def whoami(self):
            self._do("whoami")

        def create_repo(self, repo_id, *, private, exist_ok):
            self._do("create", repo=repo_id, private=private, exist_ok=exist_ok)
            return Place(f"https://huggingface.co/{repo_id}")

        def repo_info(self, repo_id):
            self._do("info", repo=repo_id)
            return SimpleNamespace(private=self.is_private)

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            self._do("upload", repo=repo_id, files={file.name for file in folder_path.iterdir()})

    class Place(str):
        @property
        def repo_id(self):
            return self.removeprefix("https://huggingface.co/")

    monkeypatch.setattr("securetune.report.push.HfApi", Hub)
    return Hub


FILES = {"adapter_model.safetensors", "adapter_config.json", "README.md"}


@pytest.mark.parametrize("private", [False, True])
def test_a_published_folder_is_uploaded_as_it_is(hub, run, tmp_path, command, private):
    words = ["--push", "me/mine", *(["--private"] if private else [])]
    assert command("publish", run, "ml_lr", tmp_path / "out", *words) == (0, "")
    steps = [("whoami", {}), ("create", {"repo": "me/mine", "private": private or None, "exist_ok": True})]
    steps += [("info", {"repo": "me/mine"})] if private else []
    assert hub.asked == [*steps, ("upload", {"repo": "me/mine", "files": FILES})]


def test_nothing_private_goes_into_a_public_repository(hub, run, tmp_path, command):
    hub.is_private = False
    code, text = command("publish", run, "ml_lr", tmp_path / "out", "--push", "me/mine", "--private")
    assert code == 2 and "Expected a private repository me/mine, found a public one" in text
    assert "upload" not in [name for name, _ in hub.asked]


@pytest.mark.parametrize(
    ("words", "refuses", "says"),
    [
        (["--push", "me/my/mine"], {}, "Expected the id of a repository on the Hub, found 'me/my/mine'"),
        (["--private"], {}, "Expected --push REPO_ID beside --private"),
        (["--push", "me/mine"], {"whoami": "401 Unauthorized\nfor url"}, "found: 401 Unauthorized. Check the name"),
        (["--push", "me/mine"], {"whoami": ""}, "found: OSError. Check the name"),
    ],
)
def test_what_cannot_be_pushed_is_told_before_anything_is_written(hub, run, tmp_path, command, words, refuses, says):
    hub.refuses = refuses
    code, text = command("publish", run, "ml_lr", tmp_path / "out", *words)
    assert code == 2 and says in text and text.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_refused_upload_leaves_the_folder_and_shows_no_key(hub, run, tmp_path, command, monkeypatch):
    token = "hf_" + "a" * 34
    monkeypatch.setenv("HF_TOKEN", token)
    hub.refuses = {"upload": f"403 Forbidden for Bearer {token}\nmore"}
    code, text = command("publish", run, "ml_lr", tmp_path / "out", "--push", "me/mine")
    assert code == 2 and "403 Forbidden" in text and "hf upload me/mine" in text and text.count("\n") == 1
    assert token not in text and {file.name for file in (tmp_path / "out").iterdir()} == FILES
    code, text = command("--debug", "publish", run, "ml_lr", tmp_path / "again", "--push", "me/mine")
    assert code == 2 and "Traceback" in text and token not in text


@pytest.mark.parametrize("name", ["", "a b c", "/home/me/model", "a/b/c", "https://huggingface.co/a/b", "me/mine\n# x"])
def test_a_base_model_that_is_no_id_is_refused(name, run, tmp_path):
    with pytest.raises(ConfigError, match="Expected the model's id on the Hub as the base model"):
        published(run, tmp_path / "out", base_model=name)
    assert not (tmp_path / "out").exists()
