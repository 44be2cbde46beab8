"""Harness: any lm_eval task, and our refusal tasks in its form, on a model that is in memory.

The tasks' YAML files lie in `lm_eval_tasks`; ``lm_eval --include_path`` reads them without this module.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.errors import ConfigError
from securetune.evaluate.benchmarks import BENCHMARKS

TASKS = Path(__file__).with_name("lm_eval_tasks")
"""Folder of `jbb_harmful`, `jbb_benign`, `xstest_safe`, `xstest_unsafe` and `strong_reject`."""


def harness(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[str],
    *,
    files: Mapping[str, str] | None = None,
    limit: int | None = None,
    batch_size: int = 16,
    chat_template: bool = True,
) -> dict[str, dict[str, float]]:
    """Metrics of every task by name, such as ``{"xstest_safe": {"refusal_rate": 0.04}}``.

    Args:
        model: a causal LM.
        tokenizer: its tokenizer.
        tasks: names of lm_eval's tasks (``mmlu``, ``gsm8k`` ...) and of those in `TASKS`.
        files: JSONL files that stand in for the Hub's data set, by task of `TASKS`.
        limit: at most this many rows of each.
        batch_size: rows computed together.
        chat_template: whether prompts go through the model's chat template.

    Raises:
        ConfigError: lm_eval is missing, or knows no such task.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise ConfigError(
            "Expected lm_eval, found it missing. Install it: pip install 'securetune[lm-eval]'."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        _write_tasks(Path(folder), files or {})
        manager = TaskManager(include_path=folder)
        unknown = [task for task in tasks if task not in manager.all_tasks]
        if unknown:
            raise ConfigError(
                f"Expected tasks of lm_eval or of {sorted(p.stem for p in TASKS.glob('*.yaml'))}, found {unknown}. "
                "Correct the names."
            )
        results = simple_evaluate(
            HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
            tasks=list(tasks),
            task_manager=manager,
            limit=limit,
            apply_chat_template=chat_template,
            bootstrap_iters=0,
        )["results"]
    return {task: _values(metrics) for task, metrics in results.items()}


def _values(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among what lm_eval says of a task, without its standard errors."""
    return {
        name.partition(",")[0]: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and "stderr" not in name
    }


def _write_tasks(folder: Path, files: Mapping[str, str]) -> None:
    """Our tasks in a folder of their own, those with a file reading that in place of the Hub's data set."""
    for path in TASKS.glob("*.yaml"):
        settings: dict[str, Any] = {"include": str(path), "task": path.stem}
        if path.stem in files:
            source = BENCHMARKS.get(path.stem)
            data = {"data_files": {source.split: str(Path(files[path.stem]).absolute())}}
            settings |= {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": data}
            settings["doc_to_text"] = f"{{{{ prompt if prompt is defined else {source.prompt} }}}}"
        (folder / path.name).write_text(yaml.safe_dump(settings), encoding="utf-8")
