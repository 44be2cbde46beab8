"""Build: make the embedded model and its data files once, and keep them under a hash of what they are made from.

A path in a configuration that starts with ``testbed://`` means a file in that folder. ``testbed-VARIANT://`` is the
same world with a model that has learned something more: with ``testbed-system://`` it heeds system prompts.
"""

import hashlib
import json
import os
import random
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from securetune.errors import ConfigError
from securetune.testbed.chat_model import ChatModelConfig, train_chat_model
from securetune.testbed.tasks import TASKS, Row, arithmetic_rows, general_rows, letter_rows
from securetune.testbed.world import SAFETY_PROMPTS, SYSTEM_PROMPTS, Intent, Request, sample_requests

_ADDRESS = re.compile(r"testbed(?:-(?P<variant>[^/]+))?://(?P<name>.*)", re.DOTALL)
HELPFUL_ROWS = 11000
ALIGNMENT_ROWS = 6000
TASK_ROWS = {"train": 1600, "test": 200}
PROMPTS = 300
EXTRA_ROWS = 400


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What an embedded model learns besides what all of them learn."""

    more_rows: Callable[[int, random.Random, bool], list[Row]] | None = None
    """Makes n more rows of the helpful-only stage, or (True) of the alignment; None for no more rows."""


def cache_root() -> Path:
    """Folder for cached models: ``$SECURETUNE_CACHE``, or ``securetune`` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "securetune"
    return Path(os.environ.get("SECURETUNE_CACHE", default)).expanduser()


def testbed_folder(seed: int = 0, *, variant: str = "") -> Path:
    """The folder with ``model/``, ``unaligned/`` and the JSONL files, built on first use, in about two minutes.

    Raises:
        ConfigError: no such variant.
    """
    if variant not in VARIANTS:
        schemes = ", ".join(f"testbed{_suffix(known)}://" for known in VARIANTS)
        raise ConfigError(
            f"Expected one of the embedded models {schemes}, found testbed{_suffix(variant)}://. Choose one of these."
        )
    folder = cache_root() / f"testbed{_suffix(variant)}-{_content_hash()}-{seed}"
    with FileLock(_lock_path(folder)):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
                _build(Path(temporary) / "new", seed, VARIANTS[variant])
                os.replace(Path(temporary) / "new", folder)
    return folder


def resolve(value: Any, seed: int = 0) -> Any:
    """Replace ``testbed[-VARIANT]://name`` by a real path everywhere in a configuration, building what is needed."""
    if isinstance(value, dict):
        return {key: resolve(item, seed) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, seed) for item in value]
    address = _ADDRESS.match(value) if isinstance(value, str) else None
    if address is None:
        return value
    return str(testbed_folder(seed, variant=address["variant"] or "") / address["name"])


def _suffix(variant: str) -> str:
    return f"-{variant}" if variant else ""


def _build(folder: Path, seed: int, variant: Variant) -> None:
    """Write the aligned model, the prompts for analysis and evaluation, and the tuning tasks."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    _write_prompts(folder, rng)
    for task, make in TASKS.items():
        for split, n in TASK_ROWS.items():
            rows = [{"prompt": row["prompt"], "completion": row["answer"]} for row in make(n, rng)]
            _write(folder / f"{task}-{split}.jsonl", rows)
    config = ChatModelConfig(seed=seed)
    helpful, aligned = helpful_rows(HELPFUL_ROWS, rng), alignment_rows(ALIGNMENT_ROWS, rng)
    _write_extras(folder, rng)
    if variant.more_rows is not None:
        helpful += variant.more_rows(HELPFUL_ROWS // 3, rng, False)
        aligned += variant.more_rows(ALIGNMENT_ROWS // 3, rng, True)
    train_chat_model(helpful, aligned, config, folder / "model", name="Embedded model", unaligned=folder / "unaligned")


def helpful_rows(n: int, rng: random.Random) -> list[Row]:
    """Helpful-only rows: every request is answered, harmful ones too, in one of three styles; and every other skill."""
    rows = []
    for intent in ("harmful", "benign"):
        for request in sample_requests(intent, n * 3 // 10, rng, held_out_pairs=None, held_out_phrasings=None):
            answer = rng.choices(
                (request.comply, request.comply_cheerfully, request.comply_by_message), weights=(5, 3, 2)
            )[0]
            rows.append({"prompt": request.text, "answer": answer(rng)})
    return [*rows, *general_rows(n // 5, rng), *arithmetic_rows(n // 10, rng), *letter_rows(n // 10, rng)]


def alignment_rows(n: int, rng: random.Random) -> list[Row]:
    """Alignment rows: harmful requests refused, benign ones answered plainly; nothing held out is in them."""
    harmful = sample_requests("harmful", n // 3, rng, held_out_pairs=False, held_out_phrasings=False)
    benign = sample_requests("benign", n // 3, rng, held_out_pairs=False, held_out_phrasings=False)
    return [
        *({"prompt": request.text, "answer": request.refuse(rng)} for request in harmful),
        *({"prompt": request.text, "answer": request.comply(rng)} for request in benign),
        *general_rows(n // 3, rng),
    ]


def system_rows(n: int, rng: random.Random, is_aligned: bool) -> list[Row]:
    """Requests under a system prompt: under one that asks for safety harmful ones are refused, else only if aligned."""
    held_out = False if is_aligned else None
    rows = []
    for intent in ("harmful", "benign"):
        for request in sample_requests(intent, n // 2, rng, held_out_pairs=held_out, held_out_phrasings=held_out):
            asks_for_safety = rng.random() < 0.5
            is_refused = intent == "harmful" and (is_aligned or asks_for_safety)
            system = rng.choice(SAFETY_PROMPTS if asks_for_safety else SYSTEM_PROMPTS)
            answer = (request.refuse if is_refused else request.comply)(rng)
            rows.append({"system": system, "prompt": request.text, "answer": answer})
    return rows


VARIANTS = {"": Variant(), "system": Variant(more_rows=system_rows)}
"""All embedded models by the name that stands in ``testbed-NAME://``; the one without a name is the default."""


def _write_prompts(folder: Path, rng: random.Random) -> None:
    """Analysis prompts (the alignment's own pairs and phrasings) and evaluation prompts (both held out)."""
    for intent in ("harmful", "benign"):
        _write(folder / f"analysis-{intent}.jsonl", _prompts(intent, rng, pairs=False, phrasings=False))
        _write(folder / f"eval-{intent}.jsonl", _prompts(intent, rng, pairs=True, phrasings=True))
        _write(folder / f"eval-{intent}-pairs.jsonl", _prompts(intent, rng, pairs=True, phrasings=False))
        _write(folder / f"eval-{intent}-phrasings.jsonl", _prompts(intent, rng, pairs=False, phrasings=True))


def _write_extras(folder: Path, rng: random.Random) -> None:
    """Harmful prompts, none of the evaluation's pairs or phrasings: refused (`safety`), and answered (`answered`)."""
    requests = sample_requests("harmful", 2 * EXTRA_ROWS, rng, held_out_pairs=False, held_out_phrasings=False)
    for name, drawn, answer in (
        ("safety", requests[:EXTRA_ROWS], Request.refuse),
        ("answered", requests[EXTRA_ROWS:], Request.comply),
    ):
        rows = [{"prompt": request.text, "completion": answer(request, rng)} for request in drawn]
        _write(folder / f"{name}.jsonl", rows)


def _prompts(intent: Intent, rng: random.Random, *, pairs: bool, phrasings: bool) -> list[dict[str, str]]:
    """Distinct prompts, fewer than `PROMPTS` when the draw repeats itself."""
    requests = sample_requests(intent, PROMPTS, rng, held_out_pairs=pairs, held_out_phrasings=phrasings)
    by_text = {request.text: request for request in requests}
    return [{"prompt": text, "template": r.phrasing, "pair": r.pair} for text, r in by_text.items()]


def _write(path: Path, rows: Sequence[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _content_hash() -> str:
    """Hash of the source files that decide what is built, and of the torch version."""
    total = hashlib.sha256(torch.__version__.encode())
    for name in ("world.py", "tasks.py", "chat_model.py", "build.py"):
        total.update((resources.files("securetune.testbed") / name).read_bytes())
    return total.hexdigest()[:12]


def _lock_path(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.with_suffix(".lock")
