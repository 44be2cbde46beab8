"""Demo: the settings of a run on the embedded model, one per tuning task."""

from pathlib import Path
from typing import Any

from securetune.errors import ConfigError
from securetune.testbed.build import SCHEME
from securetune.testbed.tasks import TASKS

# Where the task is learned well in about a hundred steps; the rate is per task, and the same for every defence.
_LEARNING_RATE = {"stepwise": 2e-3, "letters": 3e-3, "arithmetic": 5e-3}
_STEPS = {"stepwise": 100, "letters": 150, "arithmetic": 200}
_METRIC = {"stepwise": None, "letters": "exact_match", "arithmetic": "exact_match"}


def demo_settings(task: str, output: Path, seed: int) -> dict[str, Any]:
    """A run configuration, as a YAML file would hold it.

    Raises:
        ConfigError: no such task.
    """
    if task not in TASKS:
        raise ConfigError(f"Expected a task of {sorted(TASKS)}, found {task!r}. Choose one of them.")
    return {
        "model": f"{SCHEME}model",
        "output": str(output),
        "seed": seed,
        "analysis": {
            "malicious": {"path": f"{SCHEME}analysis-harmful.jsonl"},
            "benign": {"path": f"{SCHEME}analysis-benign.jsonl"},
        },
        "scan": {"prompts": 40, "draws": 2, "seed": seed},
        "task": {
            "name": task,
            "train": {"path": f"{SCHEME}{task}-train.jsonl"},
            "test": {"path": f"{SCHEME}{task}-test.jsonl"},
            "test_rows": 100,
            "metric": _METRIC[task],
        },
        "train": {
            "learning_rate": _LEARNING_RATE[task],
            "steps": _STEPS[task],
            "max_length": 160,
        },
        "benchmarks": [
            {"name": "harmful, both unseen", "kind": "harmful", "path": f"{SCHEME}eval-harmful.jsonl"},
            {"name": "benign, both unseen", "kind": "benign", "path": f"{SCHEME}eval-benign.jsonl"},
        ],
        "evaluate": {"max_new_tokens": 24, "task_max_new_tokens": 64, "batch_size": 128},
    }
