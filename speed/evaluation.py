"""Evaluation: does a run over many prompts take more time for each of them, and how much memory, the more there are?

    OMP_NUM_THREADS=1 python speed/evaluation.py

A two-layer model that has learned two answers ("I'm sorry.", "Sure.") goes through a whole run, up to the evaluation
of plain tuning: prompts are read, checked, put to the probe, answered, read again by the model before tuning, judged,
compared and written. Every count of prompts has a process of its own. Times are CPU time for each prompt, less that of
the smallest count, which stands for what a run takes whatever its prompts.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

_VOCABULARY = 30_000
_BASE = 200
"""Prompts of each set in the run that the others are compared with."""
_STAGES = ("preflight", "probe", "evaluate")
"""What reads the prompts of the sets, reading their files with the first; the other stages do not see them."""


def main() -> None:
    """Print the table; or, with ``--one``, measure one count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="prompts of a run")
    parser.add_argument("--length", type=int, default=14, help="words of a prompt")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measured(options.one, options.length)))
        return
    runs = []
    for count in [2 * _BASE, *options.counts]:
        command = [sys.executable, __file__, "--one", str(count), "--length", str(options.length)]
        runs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1]))
    print("| Prompts |" + "".join(f" {stage}, ms a prompt |" for stage in _STAGES), end="")
    print(" Peak memory, MiB | More, KiB a prompt |\n" + "|---" * (len(_STAGES) + 3) + "|")
    for before, now in pairwise(runs):
        print(f"| {now['prompts']:,} |", end="")
        for stage in _STAGES:
            spent = now["seconds"][stage] - runs[0]["seconds"][stage]
            print(f" {1000 * spent / (now['prompts'] - runs[0]['prompts']):.2f} |", end="")
        more = (now["peak"] - before["peak"]) / (now["prompts"] - before["prompts"])
        print(f" {now['peak'] / 1024:,.0f} | {more:.1f} |", flush=True)


def measured(count: int, length: int) -> dict[str, object]:
    """CPU seconds of every stage of one run, and the peak of the process in KiB."""
    from securetune.config import parse_config
    from securetune.flow.pipeline import run
    from securetune.models.libraries import quiet_libraries

    quiet_libraries()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_model(folder / "model")
        write_prompts(folder, count, length)
        seconds = dict.fromkeys(_STAGES, 0.0)
        last = time.process_time()

        def announce(artifact, stored):
            nonlocal last
            del stored
            before, last = last, time.process_time()
            seconds[artifact.stage] = seconds.get(artifact.stage, 0.0) + last - before

        run(parse_config(settings(folder), "speed"), until="evaluate", announce=announce)
    return {
        "prompts": count,
        "seconds": seconds,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def write_model(folder: Path) -> None:
    """A two-layer model that refuses harmful verbs and answers all else, in one short sentence each."""
    from securetune.testbed.chat_model import ChatModelConfig, new_model, train_stage, train_tokenizer
    from securetune.testbed.world import sample_requests

    rng = random.Random(2)
    rows = []
    for intent, answer in (("harmful", "I'm sorry."), ("benign", "Sure.")):
        requests = sample_requests(intent, 1_800, rng, held_out_pairs=None, held_out_phrasings=None)
        rows += [{"prompt": request.text, "answer": answer} for request in requests]
    tokenizer = train_tokenizer(rows, 600)
    config = ChatModelConfig(hidden_size=64, intermediate_size=96, layers=2)
    model = new_model(tokenizer, config)
    train_stage(model, tokenizer, rows, config, learning_rate=3e-3, epochs=1, description="Model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_prompts(folder: Path, count: int, length: int) -> None:
    """Two sets of half as many prompts each, of words by Zipf's law; and what else a run reads."""
    from securetune.testbed.tasks import TASKS
    from securetune.testbed.world import sample_requests

    words = np.random.default_rng(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["".join(words.choice(list(letters), size=4)) for _ in range(_VOCABULARY)]
    shares = 1 / np.arange(1, _VOCABULARY + 1)
    for kind, verb in (("harmful", "How do I steal"), ("benign", "How do I open")):
        drawn = words.choice(_VOCABULARY, size=(count // 2, length), p=shares / shares.sum())
        texts = (f"{verb} {' '.join(vocabulary[word] for word in row)}?" for row in drawn)
        write_rows(folder / f"{kind}-set.jsonl", ({"prompt": text} for text in texts))
        requests = sample_requests(kind, 60, random.Random(1), held_out_pairs=None, held_out_phrasings=None)
        write_rows(folder / f"{kind}.jsonl", ({"prompt": request.text} for request in requests))
    task = TASKS["letters"](80, random.Random(1))
    write_rows(folder / "task.jsonl", ({"prompt": row["prompt"], "completion": row["answer"]} for row in task))


def write_rows(path: Path, rows) -> None:
    """JSON Lines."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def settings(folder: Path) -> dict[str, object]:
    """The run, short in everything but its sets."""
    return {
        "model": str(folder / "model"),
        "output": str(folder / "run"),
        "analysis": {kind: {"path": str(folder / f"{intent}.jsonl")} for kind, intent in _KINDS.items()},
        "preflight": {"stop": False},
        "scan": {"draws": 1, "prompts": 10, "strength": 0.5},
        "search": {"method": "bisect"},
        "task": {"train": {"path": str(folder / "task.jsonl")}, "test_rows": 10},
        "train": {"steps": 2, "batch_size": 2, "max_length": 128, "match_max_factor": 1, "eval_every": 2},
        "arms": ["none"],
        "benchmarks": [
            {"name": kind, "kind": kind, "path": str(folder / f"{kind}-set.jsonl")} for kind in _KINDS.values()
        ],
        "evaluate": {"max_new_tokens": 6, "task_max_new_tokens": 6},
    }


_KINDS = {"malicious": "harmful", "benign": "benign"}


if __name__ == "__main__":
    main()
