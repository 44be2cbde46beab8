"""The ledger: what belongs to a run as it is configured now, and what does not."""

import json

import pytest

from securetune.base.artifacts import Product, RunFolder
from securetune.errors import ArtifactError
from securetune.report.intact import check_config, check_noted, check_whole


def scanned(path, drop=0.1):
    folder = RunFolder(path)
    folder.produce("scan", {"drop": str(drop)}, lambda: Product(data={"drop": drop}))
    return folder


def test_an_artifact_is_noted_when_it_is_made_and_when_it_is_found_current(tmp_path):
    folder = scanned(tmp_path)
    check_noted(folder, folder.needed("scan"))
    noted = folder.ledger.path.read_text()
    folder.ledger.path.unlink()
    with pytest.raises(ArtifactError, match=r"Expected the ledger of the run at .*ledger.json, found none. Finish the"):
        check_noted(folder, folder.needed("scan"))
    scanned(tmp_path)
    assert folder.ledger.path.read_text() == noted


def test_an_artifact_of_another_run_is_named(tmp_path):
    folder = scanned(tmp_path / "one")
    scanned(tmp_path / "other", 0.2).file("scan").replace(folder.file("scan"))
    for look in (lambda: check_noted(folder, folder.needed("scan")), lambda: check_whole(folder, ())):
        with pytest.raises(
            ArtifactError, match=r"Expected the artifact in .*04-scan.json that .* found another run's or"
        ):
            look()


def test_an_artifact_that_is_gone_is_named(tmp_path):
    folder = scanned(tmp_path)
    folder.file("scan").unlink()
    with pytest.raises(
        ArtifactError, match=r"Expected .*04-scan.json, which the run has left there, found none. Finish"
    ):
        check_whole(folder, ())


def test_what_was_made_for_an_earlier_configuration_counts_once_it_was_found_current(tmp_path):
    folder = RunFolder(tmp_path)
    folder.configure("seed: 0")
    scanned(tmp_path)
    check_noted(folder, folder.needed("scan"))
    folder.configure("seed: 1")
    with pytest.raises(
        ArtifactError, match=r"Expected .*04-scan.json to be of the configuration in .*config.yaml, found"
    ):
        check_noted(folder, folder.needed("scan"))
    scanned(tmp_path)
    check_noted(folder, folder.needed("scan"))


@pytest.mark.parametrize("text", ["seed: 1", None])
def test_a_configuration_that_was_changed_by_hand_is_named(text, tmp_path):
    folder = RunFolder(tmp_path)
    folder.configure("seed: 0")
    check_config(folder)
    path = tmp_path / "config.yaml"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(
        ArtifactError, match=r"Expected the configuration in .*config.yaml that ledger.json notes, found "
    ):
        check_config(folder)


@pytest.mark.parametrize("change", [lambda s: s.pop("check"), lambda s: s.update(config="x"), lambda s: s.clear()])
def test_a_ledger_that_was_changed_is_named_and_begun_anew(change, tmp_path, caplog):
    folder = scanned(tmp_path)
    stored = json.loads(folder.ledger.path.read_text())
    change(stored)
    folder.ledger.path.write_text(json.dumps(stored))
    with pytest.raises(
        ArtifactError, match=r"Expected .*ledger.json as securetune wrote it, found that it was changed"
    ):
        folder.ledger.read()
    scanned(tmp_path)
    assert "begun anew" in caplog.text
    check_whole(folder, ())
