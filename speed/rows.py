"""Rows: how long does a row take, and how much memory, from its file to the first training step, the more there are?

    OMP_NUM_THREADS=1 python speed/rows.py

Every count has a process of its own, which reads the file, checks every row as a run does before any work, and tunes a
two-layer model for two steps with the package's own training. Memory is what is the process's alone, sampled, beyond
what it has before it reads a row; pages of mapped files, which the system takes back as it likes, are not in it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

_BASE = 2_000
"""Rows of the run that the others are compared with."""
_PARTS = ("read", "check", "train")


def main() -> None:
    """Print the table; or, with ``--one``, measure one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measured(options.one)))
        return
    columns = ["Rows", "File, MB", *(f"{part}, µs a row" for part in _PARTS), "Memory, MiB", "On disk, bytes a row"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    base = of_count(_BASE)
    for count in options.counts:
        now = of_count(count)
        times = (1e6 * (now[part] - base[part]) / (count - _BASE) for part in _PARTS)
        cells = [f"{count:,}", f"{now['size'] / 1e6:,.1f}", *(f"{spent:.0f}" for spent in times)]
        print(f"| {' | '.join(cells)} | {now['memory']:,.0f} | {now['disk'] / count:.0f} |", flush=True)


def of_count(count: int) -> dict[str, float]:
    """What a process of its own measures with so many rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, count)
        command = [sys.executable, __file__, "--one", str(path)]
        measures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
        return {"size": path.stat().st_size, **measures}


def write_rows(path: Path, count: int) -> None:
    """Rows of 10 to 28 words, by Zipf's law; every fiftieth is to be skipped."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    vocabulary = ["".join(rng.choice(letters, size=4)) for _ in range(30_000)]
    shares = 1 / np.arange(1, len(vocabulary) + 1)
    words = [vocabulary[i] for i in rng.choice(len(vocabulary), size=1_000_000, p=shares / shares.sum())]
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            asked, answered = rng.integers(5, 15, size=2)
            start = rng.integers(len(words) - 60)
            row = {
                "instruction": " ".join(words[start : start + asked]),
                "output": " ".join(words[start + asked : start + asked + answered]),
                "is_old": number % 50 == 0,
            }
            stream.write(json.dumps(row) + "\n")


def measured(path: Path) -> dict[str, float]:
    """CPU seconds of every part, the most memory meanwhile in MiB, and the bytes that lay beside the rows."""
    from securetune.data.config import DataConfig
    from securetune.data.examples import load_source
    from securetune.data.rendering import check_rows
    from securetune.models.libraries import quiet_libraries
    from securetune.testbed.chat_model import ChatModelConfig, new_model, train_tokenizer
    from securetune.train.config import TrainConfig
    from securetune.train.sft import Tuning, fine_tune

    quiet_libraries()
    with path.open(encoding="utf-8") as stream:
        tokenizer = train_tokenizer([{"text": json.loads(next(stream))["output"]} for _ in range(_BASE)], 4_000)
    model = new_model(tokenizer, ChatModelConfig(hidden_size=32, intermediate_size=48, layers=2))
    seconds, before = [time.process_time()], private_memory()
    with Watch(path.parent) as watch:
        loaded = load_source(
            DataConfig(path=str(path), skip={"is_old": True}), seed=0, shuffled=True, folder=path.parent
        )
        seconds.append(time.process_time())
        check_rows(tokenizer, "rows", loaded.rows, max_length=256, loaded=loaded)
        seconds.append(time.process_time())
        tuning = Tuning(rows=loaded.rows[100:], held_out=loaded.rows[:100])
        config = TrainConfig(steps=2, batch_size=2, max_length=256)
        fine_tune(model, tokenizer, tuning, config, output=path.parent / "tuned")
        seconds.append(time.process_time())
    times = {part: now - last for part, last, now in zip(_PARTS, seconds, seconds[1:], strict=False)}
    return {**times, "memory": watch.memory - before, "disk": watch.disk}


class Watch:
    """The most memory, in MiB, and the most bytes in a folder, while it is open."""

    def __init__(self, folder: Path):
        self.memory, self.disk, self._folder, self._over = 0.0, 0, folder, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _watch(self):
        while not self._over.wait(0.2):
            self.memory = max(self.memory, private_memory())
            with suppress(FileNotFoundError):  # a file that goes meanwhile
                self.disk = max(self.disk, sum(file.stat().st_size for file in self._folder.rglob("*/rows-*/*")))


def private_memory() -> float:
    """MiB of this process that belong to no file."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


if __name__ == "__main__":
    main()
