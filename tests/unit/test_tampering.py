"""Tampering: whatever was edited, swapped or half-deleted in a run folder is an error or is made anew, never used."""

import json
import shutil

import pytest

from securetune.base.artifacts import Journal, Product, RunFolder
from securetune.errors import ArtifactError
from securetune.train.checkpoints import drop_unsealed, finished_result, save_finished, work_folder
from securetune.train.result import TrainResult

ARMS = ("none", "ml_lr")


def fill(folder, seed):
    """A folder with one stage without arms and one with two, each with companions."""

    def compute(stage, arm):
        file, model = folder.file(stage, arm, ".answers"), folder.file(stage, arm, "")
        file.write_text(f"answers of {arm} {seed}")
        model.mkdir(exist_ok=True)
        for name in ("weights", "config"):
            (model / name).write_text(f"{name} of {stage} {arm} {seed}")
        return Product(data={"asr": 0.5, "of": arm, "seed": seed}, files=[file, model], cost={"seconds": 1.5})

    def make(stage, arm):
        return folder.produce(stage, {"seed": str(seed)}, lambda: compute(stage, arm), version=2, variant=arm)

    return [make("scan", None), *(make("train", arm) for arm in ARMS)]


def edit(name, change):
    def tamper(folder):
        path = folder / name
        stored = json.loads(path.read_text())
        change(stored)
        path.write_text(json.dumps(stored))

    return tamper


def write(name, text):
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def swap(one, other):
    def tamper(folder):
        (folder / one).rename(folder / "aside")
        (folder / other).rename(folder / one)
        (folder / "aside").rename(folder / other)

    return tamper


def from_another(name):
    def tamper(folder):
        with RunFolder(folder.parent / "another") as another:
            fill(another, 1)
        source = folder.parent / "another" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(
            source, folder / name, **({"dirs_exist_ok": True} if source.is_dir() else {})
        )

    return tamper


def cut(name):
    return lambda folder: write(name, (folder / name).read_bytes()[:-40])(folder)


def a_folder(folder):
    (folder / TRAIN).unlink()
    (folder / TRAIN).mkdir()


SCAN, TRAIN, OTHER = "04-scan.json", "07-train-none.json", "07-train-ml_lr.json"
ERRORS = {
    "a rate edited": edit(SCAN, lambda s: s["data"].update(asr=0.1)),
    "a rate edited in the last digit": edit(SCAN, lambda s: s["data"].update(asr=0.5000000000000001)),
    "a number as text": edit(SCAN, lambda s: s["data"].update(asr="0.5")),
    "a rate removed": edit(SCAN, lambda s: s["data"].pop("asr")),
    "a field added": edit(SCAN, lambda s: s["data"].update(more=1)),
    "an unknown header": edit(SCAN, lambda s: s.update(more=1)),
    "a header removed": edit(SCAN, lambda s: s.pop("inputs")),
    "inputs edited": edit(SCAN, lambda s: s["inputs"].update(seed="1")),
    "inputs emptied": edit(SCAN, lambda s: s.update(inputs={})),
    "files forgotten": edit(SCAN, lambda s: s.update(files={})),
    "the hash of a file edited": edit(SCAN, lambda s: s["files"].update({"04-scan": "0"})),
    "cost edited": edit(SCAN, lambda s: s["cost"].update(seconds=0.1)),
    "seconds edited": edit(SCAN, lambda s: s.update(seconds=9e9)),
    "the seed edited": edit(SCAN, lambda s: s.update(seed=7)),
    "versions edited": edit(SCAN, lambda s: s["versions"].update(torch="1.0")),
    "the date edited": edit(SCAN, lambda s: s.update(created="1999")),
    "an older form claimed": edit(SCAN, lambda s: s.update(schema=1)),
    "a newer form claimed": edit(SCAN, lambda s: s.update(schema=3)),
    "not a number": edit(SCAN, lambda s: s["data"].update(asr=float("nan"))),
    "infinity": edit(SCAN, lambda s: s["data"].update(asr=float("inf"))),
    "data as a list": edit(SCAN, lambda s: s.update(data=[])),
    "data as nothing": edit(SCAN, lambda s: s.update(data=None)),
    "another stage claimed": edit(SCAN, lambda s: s.update(stage="search")),
    "another arm claimed": edit(TRAIN, lambda s: s.update(variant="ml_lr")),
    "the seal edited": edit(SCAN, lambda s: s.update(seal="0123456789abcdef")),
    "an empty file": write(SCAN, ""),
    "an empty object": write(SCAN, "{}"),
    "an empty list": write(SCAN, "[]"),
    "null": write(SCAN, "null"),
    "a number": write(SCAN, "5"),
    "no JSON": write(SCAN, "hello"),
    "no text": write(SCAN, b"\xff\xfe\x00"),
    "nested without end": write(SCAN, "[" * 100_000),
    "cut short": cut(SCAN),
    "two artifacts swapped": swap(TRAIN, OTHER),
    "two stages swapped": swap(SCAN, TRAIN),
    "a folder in its place": a_folder,
}
ANEW = {
    "the seal removed": edit(SCAN, lambda s: s.pop("seal")),
    "the artifact deleted": lambda folder: (folder / SCAN).unlink(),
    "another run's artifact": from_another(SCAN),
    "answers edited": write("04-scan.answers", "answers of None 1"),
    "answers cut": cut("07-train-ml_lr.answers"),
    "answers deleted": lambda folder: (folder / "04-scan.answers").unlink(),
    "answers swapped": swap("07-train-none.answers", "07-train-ml_lr.answers"),
    "another run's answers": from_another("04-scan.answers"),
    "weights edited": write("07-train-none/weights", "weights"),
    "weights deleted": lambda folder: (folder / "07-train-none" / "weights").unlink(),
    "weights renamed": lambda folder: (folder / "07-train-none/weights").rename(folder / "07-train-none/weight"),
    "models swapped": swap("07-train-none", "07-train-ml_lr"),
    "another run's model": from_another("07-train-none"),
    "a file added to a model": write("07-train-none/more", "x"),
    "a model deleted": lambda folder: shutil.rmtree(folder / "07-train-none"),
}


@pytest.fixture
def folder(tmp_path):
    with RunFolder(tmp_path / "run") as run:
        fill(run, 0)
    return tmp_path / "run"


@pytest.mark.parametrize("way", ERRORS)
def test_a_changed_artifact_is_an_error_that_names_it(way, folder):
    ERRORS[way](folder)
    with (
        pytest.raises(ArtifactError, match=r"Expected .*0[47]-.*json.* found .*(Delete|delete) "),
        RunFolder(folder) as run,
    ):
        fill(run, 0)


@pytest.mark.parametrize("way", ANEW)
def test_what_an_artifact_stands_for_is_made_anew_where_it_is_not_as_it_was(way, folder):
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.answers")}
    digests = [artifact.digest for artifact in fill(RunFolder(folder, locks=False), 0)]
    ANEW[way](folder)
    announced = []
    with RunFolder(folder, lambda artifact, stored: announced.append(stored)) as run:
        again = fill(run, 0)
    if way not in ("a file added to a model", "weights renamed"):  # the stage of this test does not tidy its folder up
        assert [artifact.digest for artifact in again] == digests
    assert not all(announced)
    assert before == {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.answers")}


JOURNALS = {
    "a value edited": lambda text: text.replace("1.5", "0.5"),
    "a key edited": lambda text: text.replace('"a"', '"c"'),
    "values swapped": lambda text: text.replace("1.5", "x").replace("2.5", "1.5").replace("x", "2.5"),
    "a line cut": lambda text: text[:-9],
    "checks removed": lambda text: '["a", 9.5]\n["b", 9.5]\n',
    "no JSON": lambda text: "a: 9.5\nb: 9.5\n",
    "numbers": lambda text: "9.5\n9.5\n",
    "nested without end": lambda text: "[" * 100_000,
    "emptied": lambda text: "",
}


@pytest.mark.parametrize("way", JOURNALS)
def test_a_changed_line_of_a_journal_is_measured_again(way, tmp_path):
    path = tmp_path / "journal"

    def measured():
        journal = Journal(path)
        return journal.once("a", lambda: 1.5), journal.once("b", lambda: 2.5)

    measured()
    path.write_text(JOURNALS[way](path.read_text()))
    assert measured() == (1.5, 2.5)


def test_a_journal_that_was_swapped_with_another_does_not_count(tmp_path):
    Journal(tmp_path / "one").keep("a", 1.5)
    (tmp_path / "one").rename(tmp_path / "other")
    assert Journal(tmp_path / "other").get("a") is None


RESULT = TrainResult(steps=4, task_loss=1.0, start_loss=2.0, trainable=3)


def save(folder):
    folder.mkdir(parents=True)
    (folder / "weights").write_text("tuned")


@pytest.mark.parametrize("left", ["nothing", "half a checkpoint", "the finished model", "half the old model"])
def test_a_kill_in_the_clean_up_of_training_costs_nothing(left, tmp_path):
    output = tmp_path / "07-train-none"
    work = work_folder(output, "key")
    save_finished(save, RESULT, work, output, "key")
    if left == "half a checkpoint":
        (work / "checkpoint-2").mkdir(parents=True)
        (work / "checkpoint-2" / "trainer_state.json").write_text("{}")
    elif left in ("the finished model", "half the old model"):
        work.mkdir()
        output.rename(work / "finished")
        if left == "half the old model":
            output.mkdir()
    assert finished_result(work, output, "key") == RESULT
    assert (output / "weights").read_text() == "tuned" and not work.exists()


@pytest.mark.parametrize("file", ["07-train-none/weights", ".07-train-none.key.done"])
def test_a_finished_training_that_was_changed_is_done_again(file, tmp_path):
    output = tmp_path / "07-train-none"
    work = work_folder(output, "key")
    save_finished(save, RESULT, work, output, "key")
    (tmp_path / file).write_text((tmp_path / file).read_text().replace("tuned", "other").replace("1.0", "0.5"))
    assert finished_result(work, output, "key") is None
    assert finished_result(work, output, "another key") is None


def test_a_checkpoint_without_its_seal_is_dropped(tmp_path):
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "trainer_state.json").write_text("{}")
    drop_unsealed(tmp_path)
    assert not (tmp_path / "checkpoint-2").exists()


def test_what_was_kept_together_counts_whole_or_not_at_all(tmp_path):
    path = tmp_path / "journal"
    Journal(path).keep_together({"a": 1.5, "b": 2.5})
    Journal(path).keep("c", 3.5)
    kept = Journal(path)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (1.5, 2.5, 3.5)
    path.write_text(path.read_text()[:25])
    assert Journal(path).get("a") is None and Journal(path).get("b") is None
