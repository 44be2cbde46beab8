"""Tiny random models and data, built without a network."""

import importlib
import json
import random
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback

from securetune.cli import entry
from securetune.testbed.chat_model import ChatModelConfig, new_model, train_stage, train_tokenizer
from securetune.testbed.tasks import TASKS
from securetune.testbed.world import sample_requests

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def tokenizer():
    rng = random.Random(0)
    rows = [row for make in TASKS.values() for row in make(60, rng)]
    for intent in ("harmful", "benign"):
        for request in sample_requests(intent, 100, rng, held_out_pairs=None, held_out_phrasings=None):
            rows += [
                {"prompt": request.text, "answer": request.refuse(rng)},
                {"prompt": request.text, "answer": request.comply(rng)},
            ]
    return train_tokenizer(rows, 600)


def tiny_llama(vocabulary: int = 600, layers: int = 2, seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=layers,
            num_attention_heads=2,
            max_position_embeddings=256,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
            tie_word_embeddings=True,
        )
    ).eval()


@pytest.fixture
def model(tokenizer):
    return tiny_llama(len(tokenizer))


@pytest.fixture(scope="session")
def model_folder(tokenizer, tmp_path_factory):
    """A two-layer model that has just learned to refuse harmful verbs: seconds of training, enough for the flow."""
    folder = tmp_path_factory.mktemp("model")
    rng = random.Random(2)
    rows = []
    for intent, answer in (("harmful", "I'm sorry."), ("benign", "Sure.")):
        requests = sample_requests(intent, 1800, rng, held_out_pairs=None, held_out_phrasings=None)
        rows += [{"prompt": request.text, "answer": answer} for request in requests]
    config = ChatModelConfig(hidden_size=64, intermediate_size=96, layers=2)
    model = new_model(tokenizer, config)
    train_stage(model, tokenizer, rows, config, learning_rate=3e-3, epochs=1, description="Fixture")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rng = random.Random(1)
    for intent in ("harmful", "benign"):
        requests = sample_requests(intent, 60, rng, held_out_pairs=None, held_out_phrasings=None)
        write_jsonl(folder / f"{intent}.jsonl", [{"prompt": r.text} for r in requests])
    rows = TASKS["letters"](80, rng)
    write_jsonl(folder / "task.jsonl", [{"prompt": r["prompt"], "completion": r["answer"]} for r in rows])
    return folder


def add_plug_ins(monkeypatch: pytest.MonkeyPatch, package: str, folder: Path) -> None:
    """Files in `folder` count as plug-ins of the package, for one test."""
    spec = importlib.import_module(f"securetune.{package}").__spec__
    places = [*spec.submodule_search_locations, str(folder)]
    monkeypatch.setattr(spec, "submodule_search_locations", places)
    monkeypatch.setattr(f"securetune.{package}.__path__", places)


def settings(model_folder: Path, data_folder: Path, output: Path) -> dict:
    """A run small enough for a unit test."""
    return {
        "model": str(model_folder),
        "output": str(output),
        "analysis": {
            "malicious": {"path": str(data_folder / "harmful.jsonl")},
            "benign": {"path": str(data_folder / "benign.jsonl")},
        },
        "scan": {"draws": 1, "max_draws": 1, "prompts": 10, "strength": 0.5},
        "search": {"method": "bisect"},
        "task": {"train": {"path": str(data_folder / "task.jsonl")}, "test_rows": 10, "metric": "exact_match"},
        "train": {"steps": 4, "batch_size": 4, "max_length": 128, "match_max_factor": 1, "eval_every": 2},
        "benchmarks": [
            {"name": "harmful", "kind": "harmful", "path": str(data_folder / "harmful.jsonl"), "limit": 12},
            {"name": "benign", "kind": "benign", "path": str(data_folder / "benign.jsonl"), "limit": 12},
        ],
        "evaluate": {"max_new_tokens": 6, "task_max_new_tokens": 6},
    }


class Killed(Exception):
    pass


class Kill(TrainerCallback):
    """Stands in for a kill: at the end of a step, after a checkpoint, or between the last step and the result."""

    def __init__(self, moment, step):
        self.moment, self.step = moment, step

    def on_step_end(self, args, state, control, **_):
        self.strike("step", state.global_step)

    def on_save(self, args, state, control, **_):
        self.strike("save", state.global_step)

    def on_train_end(self, args, state, control, **_):
        self.strike("end", self.step)

    def strike(self, moment, step):
        if (moment, step) == (self.moment, self.step):
            raise Killed


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a command in this process; its exit code and what it said."""

    def run_here(*words):
        monkeypatch.setattr(sys, "argv", ["securetune", *map(str, words)])
        try:
            entry()
        except SystemExit as ended:
            return ended.code or 0, capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run_here
