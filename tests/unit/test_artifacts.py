"""Artifacts: what is used again, what is made anew, and what survives a kill."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from securetune.base.artifacts import Journal, Product, RunFolder
from securetune.errors import ArtifactError


def produce(folder, inputs, calls):
    def compute():
        calls.append(1)
        companion = folder.file("scan", suffix=".txt")
        companion.write_text("x")
        return Product(data={"n": len(calls)}, files=[companion])

    return folder.produce("scan", inputs, compute)


def test_a_stage_is_skipped_until_an_input_or_a_companion_changes(tmp_path):
    calls = []
    with RunFolder(tmp_path) as folder:
        produce(folder, {"a": "1"}, calls)
        assert produce(folder, {"a": "1"}, calls).data == {"n": 1}
        assert produce(folder, {"a": "2"}, calls).data == {"n": 2}
        folder.file("scan", suffix=".txt").write_text("changed by someone")
        assert produce(folder, {"a": "2"}, calls).data == {"n": 3}


def test_a_killed_stage_leaves_the_old_artifact(tmp_path):
    calls = []
    with RunFolder(tmp_path) as folder:
        produce(folder, {"a": "1"}, calls)
        with pytest.raises(KeyboardInterrupt):
            folder.produce("scan", {"a": "2"}, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        assert folder.read("scan").data == {"n": 1}


def test_an_artifact_of_a_newer_version_is_left_alone(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.produce("scan", {"a": "1"}, lambda: Product(data={"n": 1}), version=3)
        with pytest.raises(ArtifactError, match="Expected version 2 or older of scan .* found 3. Update securetune"):
            folder.produce("scan", {"a": "1"}, lambda: Product(data={"n": 2}), version=2)
        assert folder.produce("scan", {"a": "1"}, lambda: Product(data={"n": 2}), version=4).data == {"n": 2}


def test_any_variant_has_a_file_name_and_two_that_share_one_are_noticed(tmp_path):
    with RunFolder(tmp_path) as folder:
        for variant in ("ml_lr+ptst@0.5", "my/own.py:Mine"):
            folder.produce("plan", {}, lambda: Product(data={}), variant=variant)
        assert folder.variants("plan") == ["ml_lr+ptst@0.5", "my/own.py:Mine"]
        assert folder.file("plan", "ml_lr+ptst@0.5").name == "06-plan-ml_lr+ptst@0.5.json"
        with pytest.raises(ArtifactError, match="both have this file name"):
            folder.read("plan", "my-own.py:Mine")


def test_of_several_that_want_an_artifact_one_computes_it(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        time.sleep(0.2)
        return Product(data={"n": len(calls)})

    with ThreadPoolExecutor(4) as pool:
        folders = [RunFolder(tmp_path, locks=False) for _ in range(4)]
        made = list(pool.map(lambda folder: folder.produce("scan", {}, compute), folders))
    assert len(calls) == 1 and all(artifact.data == {"n": 1} for artifact in made)


def test_two_processes_cannot_share_a_run_folder(tmp_path):
    with RunFolder(tmp_path), pytest.raises(ArtifactError, match="Another securetune process"), RunFolder(tmp_path):
        pass


def test_a_damaged_artifact_is_named(tmp_path):
    folder = RunFolder(tmp_path)
    folder.file("scan").write_text("{")
    with pytest.raises(ArtifactError, match=r"04-scan.json.*Delete the file"):
        folder.read("scan")


def test_a_journal_repeats_nothing_and_forgets_a_line_cut_short(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path)
    assert [journal.once(key, lambda: 1.5) for key in "aba"] == [1.5] * 3
    path.write_text(path.read_text() + '["c", {"x"')
    again = Journal(path)
    assert again.once("a", lambda: 99) == 1.5
    assert again.once("c", lambda: 3) == 3
    assert Journal(path).once("c", lambda: 99) == 3


def test_a_pipe_in_the_place_of_an_artifact_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "08-evaluate-base.json")
    with pytest.raises(ArtifactError, match=r"08-evaluate-base\.json, found a device or a pipe"):
        RunFolder(tmp_path).read("evaluate", "base")
