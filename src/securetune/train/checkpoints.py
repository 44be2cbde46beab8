"""Checkpoints: what of a killed training may be gone on from, and is it finished already?

A checkpoint counts once its hash stands beside it, and a finished model once its hash stands in its record; whatever a
kill has left half-written or half-deleted, or somebody has changed, has another hash.
"""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from securetune.base.artifacts import digest, digest_path, write_atomic
from securetune.base.typed import from_json, to_json
from securetune.train.result import TrainResult

log = logging.getLogger(__name__)


class SealCheckpoints(TrainerCallback):
    """Writes the hash of every checkpoint beside it, and only then removes the one before; add it last."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Seal what the trainer and the other callbacks have written."""
        if not state.is_world_process_zero:
            return
        work = Path(args.output_dir)
        newest = work / f"checkpoint-{state.global_step}"
        write_atomic(_seal(newest), digest_path(newest))
        for checkpoint in work.glob("checkpoint-*"):
            if checkpoint.is_dir() and checkpoint != newest:
                shutil.rmtree(checkpoint)
                _seal(checkpoint).unlink(missing_ok=True)


def work_folder(output: Path, run_key: str) -> Path:
    """Where the checkpoints of a training lie until it is finished."""
    return output.with_name(f".{output.name}{run_key}.partial")


def drop_unsealed(work: Path) -> None:
    """Remove the checkpoints of a training folder that are not as they were when they were whole."""
    for checkpoint in work.glob("checkpoint-*"):
        if checkpoint.is_dir() and not _is_intact(checkpoint):
            log.warning("Dropping the checkpoint %s: it is not whole, or was changed", checkpoint)
            shutil.rmtree(checkpoint)


def save_finished(save: Callable[[Path], object], result: TrainResult, work: Path, output: Path, run_key: str) -> None:
    """Put a model into `output`, whole or not at all, with a record of its training; what served to resume goes.

    Args:
        save: writes the model into a folder.
        result: what training came to.
        work: the folder of the checkpoints.
        output: where the model is to lie.
        run_key: names the record; without one there is none, and a kill before the caller has kept the result costs
            the training.
    """
    finished = work / "finished"
    if finished.exists():
        shutil.rmtree(finished)
    save(finished)
    if run_key:
        kept = [to_json(result), digest_path(finished)]
        write_atomic(_record(output, run_key), json.dumps([*kept, digest(kept)]))
    _move(finished, output)
    shutil.rmtree(work)


def finished_result(work: Path, output: Path, run_key: str) -> TrainResult | None:
    """What a finished training came to whose model is as it left it; None where there is none."""
    record = _record(output, run_key)
    if not run_key or not record.is_file():
        return None
    try:
        stored, model, check = json.loads(record.read_text(encoding="utf-8"))
        is_intact = check == digest([stored, model])
    except (ValueError, TypeError, RecursionError):
        is_intact = False
    if not is_intact:
        log.warning("%s is not as it was written: the training is done again", record)
        return None
    finished = work / "finished"
    if not (output.is_dir() and digest_path(output) == model):
        if not (finished.is_dir() and digest_path(finished) == model):
            return None
        _move(finished, output)
    if work.exists():
        shutil.rmtree(work)
    return from_json(TrainResult, stored, str(record))


def _move(finished: Path, output: Path) -> None:
    if output.exists():
        shutil.rmtree(output)
    finished.replace(output)


def _record(output: Path, run_key: str) -> Path:
    return output.with_name(f".{output.name}.{run_key}.done")


def _seal(checkpoint: Path) -> Path:
    return checkpoint.with_name(f"{checkpoint.name}.seal")


def _is_intact(checkpoint: Path) -> bool:
    seal = _seal(checkpoint)
    return seal.is_file() and seal.read_text(encoding="utf-8", errors="replace") == digest_path(checkpoint)
