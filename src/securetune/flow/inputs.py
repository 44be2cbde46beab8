"""Inputs: can the files that a configuration names be used at all? Answered within a second, without torch.

The check before a run reads everything, with the model's tokenizer; this one spares whoever misspelt a path, or whose
rows are broken, the wait for it.
"""

import os
from collections.abc import Iterable

from securetune.base.places import expanded, is_here, looks_local
from securetune.config import BenchmarkConfig, PromptsConfig, RunConfig
from securetune.data.config import DataConfig
from securetune.data.examples import load_examples
from securetune.data.prompts import load_prompts
from securetune.models.files import check_model
from securetune.models.source import check_trainable

_LARGEST = 8 << 20
"""Bytes of a file that is read whole in a moment; what is larger waits for the check before a run."""


def check_inputs(configs: Iterable[RunConfig]) -> None:
    """Look at the models' folders and read the files of rows and prompts, each once.

    Raises:
        SecuretuneError: the first that cannot be used.
    """
    seen: set[str] = set()
    for config in configs:
        for model in (config.model, config.unaligned):
            if model is not None and not _is_built(model.path) and _is_new(model.path, seen):
                check_model(model.path, model.revision)
        check_trainable(config.model.path)
        task = config.task
        sources = (task.train, task.test, task.mixed, config.safety)
        rows = [source for source in sources if isinstance(source, DataConfig)]
        own = [set_ for set_ in config.benchmarks if set_.benchmark is None]
        check_files(rows, [config.analysis.malicious, config.analysis.benign, *own], config.seed, seen)


def check_files(
    rows: Iterable[DataConfig], prompts: Iterable[PromptsConfig | BenchmarkConfig], seed: int, seen: set[str]
) -> None:
    """Read the files of rows and prompts that are here and take no time.

    Args:
        rows: sources of rows.
        prompts: sets of prompts.
        seed: draws of the rows.
        seen: what was read already; what is read now is added.

    Raises:
        SecuretuneError: the first that cannot be used.
    """
    for source in rows:
        if _is_read_here(source.path) and _is_new(repr(source), seen):
            load_examples(source, seed=seed)
    for asked in prompts:
        if asked.path is not None and _is_read_here(asked.path) and _is_new(repr(asked), seen):
            load_prompts(asked.path, label=asked.label, half=asked.half)


def _is_new(name: str, seen: set[str]) -> bool:
    is_new = name not in seen
    seen.add(name)
    return is_new


def _is_read_here(path: str) -> bool:
    """Whether it is a file of this machine, or should be one, and reading it takes no time."""
    if _is_built(path) or not (is_here(path) or looks_local(path)):
        return False
    place = expanded(path)
    files = place.rglob("*") if os.path.isdir(place) else [place] if is_here(path) else []
    return sum(os.path.getsize(file) for file in files) <= _LARGEST


def _is_built(path: str) -> bool:
    """Whether it is made when it is needed."""
    return path.startswith("testbed") and "://" in path
