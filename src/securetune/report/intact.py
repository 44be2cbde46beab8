"""Intact: is what lies in a run's folder what its stages have left there, and does it belong together?"""

from collections.abc import Iterable, Mapping, Sequence

from securetune.base.artifacts import CONFIG, STAGES, Artifact, RunFolder, digest, digest_path
from securetune.base.ledger import FINISH
from securetune.defences.base.arm import BASE
from securetune.errors import ArtifactError

GIVEN = "given"
"""What an evaluation notes of a model that was tuned elsewhere."""


def config_digest(text: str) -> str:
    """What a report notes of the configuration that it shows."""
    return digest(text)


def check_noted(folder: RunFolder, artifact: Artifact) -> None:
    """Check that an artifact is the one that the run has left, for the configuration that lies beside it.

    Raises:
        ArtifactError: it is another run's or an older one, or there is nothing to tell by.
    """
    path, notes = folder.file(artifact.stage, artifact.variant), folder.ledger.read()
    noted = notes.artifacts.get(path.name)
    if noted is None or noted.seal != artifact.seal:
        raise ArtifactError(
            f"Expected the artifact in {path} that this run has left there (seal {noted.seal if noted else 'none'}), "
            f"found another run's or an older one (seal {artifact.seal}). {FINISH}"
        )
    if noted.config != notes.config:
        raise ArtifactError(
            f"Expected {path} to be of the configuration in {folder.path / CONFIG}, found that it is of an earlier "
            f"one. {FINISH}"
        )


def check_config(folder: RunFolder) -> None:
    """Check that the configuration in the folder is the one that the run has written.

    Raises:
        ArtifactError: it was changed, or is gone.
    """
    path, noted = folder.path / CONFIG, folder.ledger.read().config
    if noted and (not path.exists() or config_digest(path.read_text("utf-8", errors="replace")) != noted):
        what = "that it was changed" if path.exists() else "none"
        raise ArtifactError(
            f"Expected the configuration in {path} that {folder.ledger.path.name} notes, found {what}. {FINISH}"
        )


def check_whole(folder: RunFolder, arms: Iterable[str]) -> None:
    """Check every artifact that belongs to the run as it is configured now, and every file of it.

    Args:
        folder: the run's.
        arms: whose artifacts are looked at, besides those of no arm.

    Raises:
        ArtifactError: one is gone, changed or another's; the message names the file.
    """
    check_config(folder)
    notes = folder.ledger.read()
    for stage, arm in [(stage, arm) for stage in STAGES for arm in (None, *arms)]:
        path = folder.file(stage, arm)
        noted = notes.artifacts.get(path.name)
        if noted is None or noted.config != notes.config:
            continue
        artifact = folder.read(stage, arm)
        if artifact is None:
            raise ArtifactError(f"Expected {path}, which the run has left there, found none. {FINISH}")
        check_noted(folder, artifact)
        check_files(folder, artifact)


def check_belong(folder: RunFolder, evaluated: Mapping[str, Artifact]) -> None:
    """Check that every evaluation is of what its arm's training has left, and against one model before tuning.

    What training has left has to be this run's own, too.

    Args:
        folder: the run's.
        evaluated: evaluations by arm.

    Raises:
        ArtifactError: one of them is of an earlier run.
    """
    for arm, artifact in evaluated.items():
        if arm == BASE:
            continue
        needed = {}
        if not is_of_given(artifact):
            training = folder.needed("train", arm)
            check_noted(folder, training)
            needed["trained"] = training.digest
        if BASE in evaluated:
            needed["base"] = evaluated[BASE].digest
        for name, value in needed.items():
            if artifact.inputs.get(name, value) != value:
                what = "the model that its training left" if name == "trained" else "the model before tuning"
                raise ArtifactError(
                    f"Expected the evaluation of {arm} in {folder.path} to belong to {what} (hash {value}), found "
                    f"an earlier one (hash {artifact.inputs[name]}). Finish the run with `securetune run`."
                )


def is_of_given(evaluated: Artifact) -> bool:
    """Whether an evaluation is of a model that was tuned elsewhere: no training of the run has left it."""
    return GIVEN in evaluated.inputs


def check_reported(folder: RunFolder, evaluated: Mapping[str, Artifact], missing: Sequence[str]) -> None:
    """Check that a run is finished, and that its report, where there is one, is of the same results.

    Args:
        folder: the run's.
        evaluated: the evaluations that are asked for, by arm.
        missing: arms of the configuration that were not evaluated.

    Raises:
        ArtifactError: an arm is missing, or the configuration or a result is not the report's.
    """
    if missing:
        raise ArtifactError(
            f"Expected the run in {folder.path} to have evaluated every arm of its configuration, found nothing of "
            f"{list(missing)}. Finish it first with `securetune run`, or name the `arms` that you want held."
        )
    report = folder.read("report")
    if report is None:
        return
    now = {f"evaluate-{arm}": artifact.digest for arm, artifact in evaluated.items()}
    path = folder.path / CONFIG
    if path.exists():
        now["config"] = config_digest(path.read_text(encoding="utf-8"))
    # An input that an older report did not note says nothing.
    changed = [name for name, value in now.items() if report.inputs.get(name, value) != value]
    if changed:
        raise ArtifactError(
            f"Expected {folder.path} to be as its report shows it, found that {', '.join(changed)} has changed since. "
            "Finish the run with `securetune run`."
        )


def check_files(folder: RunFolder, artifact: Artifact) -> None:
    """Check that the files of an artifact are those that its stage has left.

    Raises:
        ArtifactError: one is gone, or another.
    """
    for name, value in artifact.files.items():
        path = folder.path / name
        now = digest_path(path) if path.exists() else "no such file"
        if now != value:
            raise ArtifactError(
                f"Expected {path} as the stage {artifact.stage} left it (hash {value}), found {now}. Somebody changed "
                "it: delete it and finish the run with `securetune run`."
            )
