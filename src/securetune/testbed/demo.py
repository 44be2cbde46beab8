"""Demo: the settings of a run on the embedded model, one per tuning task."""

from pathlib import Path
from typing import Any

from securetune.errors import ConfigError

SCHEME = "testbed://"
# Where plain tuning learns the task well and its answers stay text: at three times these rates they do not.
_TASKS: dict[str, dict[str, Any]] = {
    "letters": {"train": {"learning_rate": 1e-3, "steps": 150}, "task": {"metric": "exact_match"}},
    "stepwise": {
        "train": {"learning_rate": 1e-3, "steps": 100},
        "task": {"metric": "pattern", "pattern": "Great question! .+ Step 1: .+! Step 2: .+! Step 3: .+! Have fun!"},
    },
    "messages": {
        "train": {"learning_rate": 1.5e-3, "steps": 100},
        "task": {"metric": "pattern", "pattern": "Dear friend, this is how to .+: .+, .+ and .+\\. Good luck!"},
    },
    "arithmetic": {"train": {"learning_rate": 2e-3, "steps": 300}, "task": {"metric": "exact_match"}},
}


def demo_settings(task: str, output: Path, seed: int) -> dict[str, Any]:
    """A run configuration, as a YAML file would hold it.

    Raises:
        ConfigError: no such task.
    """
    if task not in _TASKS:
        raise ConfigError(f"Expected a task of {sorted(_TASKS)}, found {task!r}. Choose one of them.")
    settings = _TASKS[task]
    return {
        "model": f"{SCHEME}model",
        "output": str(output),
        "seed": seed,
        "analysis": {
            "malicious": {"path": f"{SCHEME}analysis-harmful.jsonl"},
            "benign": {"path": f"{SCHEME}analysis-benign.jsonl"},
        },
        "scan": {"prompts": 40, "draws": 2},
        "safety": {"path": f"{SCHEME}safety.jsonl"},
        "unaligned": f"{SCHEME}unaligned",
        "task": {
            "name": task,
            "train": {"path": f"{SCHEME}{task}-train.jsonl"},
            "test": {"path": f"{SCHEME}{task}-test.jsonl"},
            "test_rows": 100,
            **settings["task"],
        },
        "train": {**settings["train"], "max_length": 160},
        "benchmarks": [
            {"name": "harmful, both unseen", "kind": "harmful", "path": f"{SCHEME}eval-harmful.jsonl"},
            {"name": "benign, both unseen", "kind": "benign", "path": f"{SCHEME}eval-benign.jsonl"},
        ],
        "evaluate": {"max_new_tokens": 24, "task_max_new_tokens": 64, "batch_size": 128},
    }
