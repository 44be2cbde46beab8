"""Intact: is what lies in a run's folder what its stages have left there, and does it belong together?"""

from collections.abc import Mapping, Sequence

from securetune.base.artifacts import Artifact, RunFolder, digest, digest_path
from securetune.defences.base.arm import BASE
from securetune.errors import ArtifactError

CONFIG = "config.yaml"
"""What a run's folder calls its configuration."""


def config_digest(text: str) -> str:
    """What a report notes of the configuration that it shows."""
    return digest(text)


def check_belong(folder: RunFolder, evaluated: Mapping[str, Artifact]) -> None:
    """Check that every evaluation is of what its arm's training has left, and against one model before tuning.

    Args:
        folder: the run's.
        evaluated: evaluations by arm.

    Raises:
        ArtifactError: one of them is of an earlier run.
    """
    for arm, artifact in evaluated.items():
        if arm == BASE:
            continue
        needed = {"trained": folder.needed("train", arm).digest}
        if BASE in evaluated:
            needed["base"] = evaluated[BASE].digest
        for name, value in needed.items():
            if artifact.inputs.get(name, value) != value:
                what = "the model that its training left" if name == "trained" else "the model before tuning"
                raise ArtifactError(
                    f"Expected the evaluation of {arm} in {folder.path} to belong to {what} (hash {value}), found "
                    f"an earlier one (hash {artifact.inputs[name]}). Finish the run with `securetune run`."
                )


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
