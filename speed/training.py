"""Overhead: what do the methods cost per step, beside TRL's own SFT trainer on the same work?

    python speed/training.py                                    # small model, CPU
    python speed/training.py --width 4096 --layers 32 --bf16    # a 7B shape; needs a GPU

Every round times every arm once, in a turning order, on a fresh trainer of the same model and rows; a ratio is taken
within its round. On a CPU it is the computing time of the process, so with OMP_NUM_THREADS=1 other work hardly counts.
Given are the median over rounds and its 95 % bootstrap interval. Memory, of one more run: on a GPU its peak; on a CPU
the most that tensors made while training took together, by the profiler's record of every allocation.
"""

import argparse
import random
import statistics
import tempfile
import time

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer

from securetune import attach
from securetune.defences.base.run import Resources
from securetune.models.libraries import quiet_libraries
from securetune.models.openings import Openings
from securetune.models.reading import read_topology
from securetune.models.topology import ModuleSet
from securetune.plans.plan import Entry, Phase, Plan, PlanModel, module_entries, plan_of, rest
from securetune.testbed.build import helpful_rows
from securetune.testbed.chat_model import train_tokenizer

LIMITS = {"ML-LR": 1.02, "SWAT": 1.02, "multiplier 0 on the early half": 0.85, "guarded, k = 25": 1.05}
WARM_UP = 2


class Clock(TrainerCallback):
    """Times every step; takes part in the same way in every arm."""

    def __init__(self):
        self.times = []

    def on_step_begin(self, args, state, control, **_):
        """Start the clock."""
        self.begun = now()

    def on_step_end(self, args, state, control, **_):
        """Stop it."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(now() - self.begun)


def now() -> float:
    """Seconds: of the clock on a GPU, of computing on a CPU."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def plans(model) -> dict[str, Plan | None]:
    """The plan of every arm; a random half of the modules is robust, as the cost does not depend on which."""
    topology, plan_model = read_topology(model), PlanModel(id="random")
    modules = list(topology.all)
    robust = ModuleSet.of(random.Random(0).sample(modules, len(modules) // 2))
    early = ModuleSet.of(ref for ref in modules if ref.layer < topology.layers // 2)
    slow = plan_of("ml_lr", plan_model, topology, robust, rest_lr_mult=0.05)
    first = Phase(until=0.5, entries=(*module_entries(robust, topology, lr_mult=1.0), rest(0.0)))
    return {
        "TRL's SFT": None,
        "ML-LR": slow,
        "SWAT": Plan(method="swat", model=plan_model, entries=(Entry(pattern=".*"),), phases=(first,)),
        "multiplier 0 on the early half": Plan(
            method="freeze", model=plan_model, entries=(*module_entries(early, topology, lr_mult=0.0), rest(1.0))
        ),
        "guarded, k = 25": None,
    }


def trainer_of(arm: str, options: argparse.Namespace, folder: str) -> SFTTrainer:
    """A fresh trainer of one arm."""
    rows = helpful_rows(300, random.Random(0))
    tokenizer = train_tokenizer(rows, 600)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=min(32000, 8 * options.width), hidden_size=options.width,
            intermediate_size=11 * options.width // 4 // 16 * 16,
            num_hidden_layers=options.layers, num_attention_heads=options.width // 64, max_position_embeddings=1024,
        )
    )  # fmt: skip
    if options.bf16:
        model = model.to(torch.bfloat16)
    ids = torch.randint(10, len(tokenizer), (options.batch * 4, options.tokens)).tolist()
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=folder, max_steps=options.steps + WARM_UP, per_device_train_batch_size=options.batch,
            learning_rate=1e-4, report_to="none", save_strategy="no", logging_steps=1000, bf16=options.bf16,
            gradient_checkpointing=False, disable_tqdm=True, dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list([{"input_ids": row, "labels": row} for row in ids]),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=8, target_modules="all-linear"),
    )  # fmt: skip
    prompts = [row["prompt"] for row in rows[:64]]
    attach(
        trainer,
        plans(model)[arm],
        defences="guarded" if arm.startswith("guarded") else "",
        settings={"guarded": {"every": 25, "budget": 1}},  # it measures, and never finds reason to act
        resources=Resources(
            malicious=prompts, benign=prompts, openings=Openings(refusal=tuple(range(10, 600)), affirmative=(5,))
        ),
    )
    return trainer


def seconds(arm: str, options: argparse.Namespace) -> float:
    """Mean time of a step."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, clock = trainer_of(arm, options, folder), Clock()
        trainer.add_callback(clock)
        trainer.train()
    return sum(clock.times[WARM_UP:]) / options.steps


def memory(arm: str, options: argparse.Namespace) -> int:
    """Bytes: the peak on a GPU, on a CPU the peak of what training adds to the model."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(arm, options, folder)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            trainer.train()
            return torch.cuda.max_memory_allocated()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            trainer.train()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return int(np.cumsum(changes).max())


def interval(ratios: list[float]) -> str:
    """Median with its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    low, high = np.quantile(np.median(rng.choice(ratios, (2000, len(ratios))), axis=1), (0.025, 0.975))
    return f"{statistics.median(ratios):.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    quiet_libraries()
    arms = ["TRL's SFT", *LIMITS]
    times: dict[str, list[float]] = {arm: [] for arm in arms}
    for turn in range(options.rounds):
        for arm in arms[turn % len(arms) :] + arms[: turn % len(arms)]:
            times[arm].append(seconds(arm, options))
    memories = {arm: memory(arm, options) for arm in arms}
    print("| arm | time per step, ratio | at most | memory, ratio |\n|---|---|---|---|")
    for arm in arms:
        ratios = [ours / trl for ours, trl in zip(times[arm], times[arms[0]], strict=True)]
        limit = LIMITS.get(arm)
        verdict = "–" if limit is None else f"{limit} ({'held' if statistics.median(ratios) <= limit else 'NOT held'})"
        print(f"| {arm} | {interval(ratios)} | {verdict} | {memories[arm] / memories[arms[0]]:.3f} |")
    baseline = statistics.median(times[arms[0]])
    print(f"\n{options.rounds} rounds of {options.steps} steps; TRL's SFT: {baseline:.3f} s a step.")


if __name__ == "__main__":
    main()
