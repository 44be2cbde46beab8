"""Report: how long does the report of a large comparison take, and how large is it?

    OMP_NUM_THREADS=1 python speed/report.py

A small run is made once; its plainly tuned model is then put down again as so many arms, each with answers of its own
on so many sets. What is timed reads all of it back and writes the page, the tables and the figures. Every size has a
process of its own.
"""

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import yaml

from evaluation import settings, write_model, write_prompts, write_rows

_LIMITS = (5.0, 30.0)
"""Megabytes of the page and seconds, of computing, that the last size may take."""
_TEXT = "we could say that this is an answer of some length with a few words in it and then some more"


def main() -> None:
    """Print the table; or, with ``--one``, measure one folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 30, 50, 30], help="arms and sets, in turns")
    parser.add_argument("--prompts", type=int, default=100, help="of every set")
    parser.add_argument("--words", type=int, default=200, help="longest answer")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measured(options.one)))
        return
    print("| Arms | Sets | Answers | Page, MB | CPU, s | Clock, s | Peak memory, MiB |\n|---|---|---|---|---|---|---|")
    for arms, sets in zip(options.sizes[::2], options.sizes[1::2], strict=True):
        with tempfile.TemporaryDirectory() as place:
            folder = made_run(Path(place), arms, sets, options)
            command = [sys.executable, __file__, "--one", str(folder)]
            now = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
        answers = (arms + 2) * sets * options.prompts
        numbers = f"{now['size'] / 1e6:.2f} | {now['cpu']:.1f} | {now['clock']:.1f} | {now['peak'] / 1024:,.0f}"
        print(f"| {arms} | {sets} | {answers:,} | {numbers} |", flush=True)
    is_held = now["size"] / 1e6 < _LIMITS[0] and now["cpu"] < _LIMITS[1]
    print(f"\nAt most {_LIMITS[0]:g} MB and {_LIMITS[1]:g} s of CPU: {'held' if is_held else 'NOT held'}.")


def measured(folder: Path) -> dict[str, float]:
    """The page's bytes, the seconds and the peak in KiB."""
    from securetune.report.files import write_report
    from securetune.report.reading import read_run

    clock, cpu = time.monotonic(), time.process_time()
    page = write_report(read_run(folder))[0]
    return {
        "cpu": time.process_time() - cpu,
        "clock": time.monotonic() - clock,
        "size": page.stat().st_size,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def made_run(place: Path, arms: int, sets: int, options: argparse.Namespace) -> Path:
    """A run folder with so many arms, on so many sets, beside plain tuning."""
    from securetune.base.artifacts import STAGES, RunFolder
    from securetune.config import parse_config
    from securetune.flow.pipeline import run
    from securetune.models.libraries import quiet_libraries

    quiet_libraries()
    write_model(place / "model")
    write_prompts(place, 2 * options.prompts, 14)
    raw = settings(place)
    raw["benchmarks"] = [
        {
            **raw["benchmarks"][number % 2],
            "name": f"set {number}",
            "path": set_file(place, number),
        }
        for number in range(sets)
    ]
    path = run(parse_config(raw, "speed"), until="evaluate")
    rng, folder = random.Random(0), RunFolder(path)
    names = [f"ml_lr@{0.01 * (number + 1):.2f}" for number in range(arms)]
    for arm in names:
        put_down(folder, arm, rng, options.words)
    config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    folder.configure(yaml.safe_dump({**config, "arms": ["none", *names]}))
    for stage in STAGES:
        for arm in (None, "base", "none", *names):
            if (artifact := folder.read(stage, arm)) is not None:
                folder.ledger.note(folder.file(stage, arm).name, artifact.seal)
    return path


def set_file(place: Path, number: int) -> str:
    """Prompts of one set: those of the kind, each with the number of the set behind it."""
    kind = ("harmful", "benign")[number % 2]
    path = place / f"{kind}-{number}.jsonl"
    rows = [json.loads(line) for line in (place / f"{kind}-set.jsonl").read_text(encoding="utf-8").splitlines()]
    write_rows(path, ({"prompt": f"{row['prompt']} {number}"} for row in rows))
    return str(path)


def put_down(folder, arm: str, rng: random.Random, words: int) -> None:
    """Plain tuning's results as those of another arm, with other answers."""
    from securetune.base.artifacts import digest_path, sealed, write_atomic

    def store(artifact):
        artifact = sealed(replace(artifact, variant=arm))
        write_atomic(folder.file(artifact.stage, arm), json.dumps(asdict(artifact)))
        return artifact

    trained = folder.needed("train", "none")
    trained = store(replace(trained, data={**trained.data, "title": f"ML-LR {arm}", "is_defence": True}))
    shutil.copytree(folder.file("train", "none", ""), folder.file("train", arm, ""))
    stored = json.loads(folder.file("evaluate", "none", ".answers.json").read_text(encoding="utf-8"))
    for benchmark in stored["benchmarks"]:
        for answer in benchmark["answers"]:
            answer["text"] = " ".join(rng.choices(_TEXT.split(), k=rng.randint(words // 4, words)))
            answer["refused"] = {judge: rng.random() < 0.5 for judge in answer["refused"]}
    companion = folder.file("evaluate", arm, ".answers.json")
    companion.write_text(json.dumps(stored), encoding="utf-8")
    evaluated = folder.needed("evaluate", "none")
    inputs = {**evaluated.inputs, "trained": trained.digest}
    store(replace(evaluated, inputs=inputs, files={companion.name: digest_path(companion)}))


if __name__ == "__main__":
    main()
