"""Trains a tiny model with every defence that acts while training, in one process or two; a test compares.

python distributed_worker.py single|ddp|fsdp2|unphased|zero2|zero3 FOLDER ROWS_PER_PROCESS
"""

import os
import random
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import DistributedType, PartialState
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.distributed.tensor import DTensor
from transformers import Trainer, TrainingArguments

from securetune import attach
from securetune.defences.base.run import Resources
from securetune.errors import ConfigError
from securetune.models.openings import Openings
from securetune.models.tensors import whole
from securetune.plans.plan import Entry, Phase, Plan, PlanModel
from securetune.testbed.chat_model import train_tokenizer
from securetune.testbed.tasks import general_rows
from tests.conftest import tiny_llama


def zero(stage):
    """DeepSpeed with every weight in pieces where the stage allows it."""
    auto = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    pieces = {"stage": stage, "stage3_param_persistence_threshold": 0}
    return {"deepspeed": dict.fromkeys(auto, "auto") | {"zero_optimization": pieces}}


MODES = {
    "single": {},
    "unphased": {},
    "ddp": {"ddp_backend": "gloo"},
    "fsdp2": {"ddp_backend": "gloo", "fsdp": True, "fsdp_config": {"version": 2, "auto_wrap_policy": "NO_WRAP"}},
    "zero2": zero(2),
    "zero3": zero(3),
}
PLAN = Plan(
    method="test",
    model=PlanModel(id="tiny"),
    entries=(Entry(pattern=r"layers\.0\.", lr_mult=0.1), Entry(pattern=".*")),
    phases=(Phase(until=0.5, entries=(Entry(pattern=r"layers\.1\."), Entry(pattern=".*", lr_mult=0.0))),),
)
UNPHASED = PLAN.model_copy(update={"phases": ()})
DEFENCES = {
    "none": {},
    "ema+kl_anchor": {"ema": {"decay": 0.5}, "kl_anchor": {"weight": 5.0}},
    "constrained_sft": {},
    "safe_grad": {},
    "replay": {},
    "lisa": {"lisa": {"safety_steps": 1, "task_steps": 2}},
    "guarded": {"guarded": {"every": 2, "budget": 0.01}},
    "pact": {},
    "snip_freeze": {},
    "resta": {},
    "safe_lora": {"safe_lora": {"number": 3}},
    "safe_merge": {"safe_merge": {"threshold": 1.0, "steps": 3}},
}
"""Arms of a run -> their settings; a plan with a phase goes with every one that trains the whole model."""


def main(mode: str, output: str, batch_size: int) -> None:
    rows = general_rows(300, random.Random(0))
    tokenizer = train_tokenizer(rows, 600)
    resources = Resources(
        safety_rows=[
            {
                "prompt": [{"role": "user", "content": row["prompt"]}],
                "completion": [{"role": "assistant", "content": "Sorry, no."}],
            }
            for row in rows[:24]
        ],
        malicious=[row["prompt"] for row in rows[:16]],
        benign=[row["prompt"] for row in rows[16:32]],
        openings=Openings(refusal=tuple(range(250, 300)), affirmative=tuple(range(5, 55))),
        unaligned=lambda: tiny_llama(len(tokenizer), seed=1),
    )
    found = {name: trained(mode, output, batch_size, name, tokenizer, resources) for name in DEFENCES}
    if PartialState().is_main_process:
        torch.save(found, Path(output) / "weights.pt")


def trained(mode, output, batch_size, defences, tokenizer, resources):
    """Weights at the end, by name; or why the trainer would not."""
    ids = [list(range(5 + i, 15 + i)) for i in range(16)]
    arguments = TrainingArguments(
        output_dir=f"{output}/{defences}",
        use_cpu=not mode.startswith("zero"),
        max_steps=6,
        per_device_train_batch_size=batch_size,
        learning_rate=1e-2,
        adam_epsilon=1e-3,  # gradients that are nothing but rounding make no step
        lr_scheduler_type="constant",
        weight_decay=0.1,
        max_grad_norm=0.0,
        save_strategy="no",
        report_to="none",
        **MODES[mode],
    )
    if mode == "fsdp2":
        # accelerate shards on accelerators only; told that this is one, it does the same on the CPU.
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    if mode.startswith("zero"):
        # accelerate counts processes on accelerators only; DeepSpeed itself knows that there are two.
        rank = int(os.environ["RANK"])
        known = {"num_processes": int(os.environ["WORLD_SIZE"]), "process_index": rank, "local_process_index": rank}
        PartialState._shared_state.update(known)
    model, is_lora = tiny_llama(len(tokenizer)), defences in ("safe_lora", "safe_merge")
    if is_lora:
        torch.manual_seed(0)
        model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list([{"input_ids": row, "labels": row} for row in ids]),
        processing_class=tokenizer,
    )
    plan = PLAN if mode in ("single", "ddp", "fsdp2") else UNPHASED
    named = "" if defences == "none" else defences
    try:
        attach(trainer, None if is_lora else plan, defences=named, settings=DEFENCES[defences], resources=resources)
        trainer.train()
    except ConfigError as error:
        return str(error)
    tuned = trainer.accelerator.unwrap_model(trainer.model)
    shards = {isinstance(p, DTensor) for p in tuned.parameters()}
    assert shards == {mode == "fsdp2"}, "the parameters have to be sharded, or whole"
    with gathered(tuned, mode):
        return {name: whole(p.detach()).clone() for name, p in tuned.named_parameters()}


def gathered(model, mode):
    """Every weight in one piece for a while."""
    if mode != "zero3":
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(list(model.parameters()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
