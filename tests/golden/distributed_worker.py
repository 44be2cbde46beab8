"""Trains a tiny model by a plan with a phase and a defence, in one process or several; a test compares the weights."""

import sys
from pathlib import Path

import torch
from accelerate import DistributedType, PartialState
from datasets import Dataset
from torch.distributed.tensor import DTensor
from transformers import Trainer, TrainingArguments

from securetune import attach
from securetune.plan import Entry, Phase, Plan, PlanModel
from tests.conftest import tiny_llama

MODES = {
    "single": {},
    "ddp": {"ddp_backend": "gloo"},
    "fsdp2": {"ddp_backend": "gloo", "fsdp": True, "fsdp_config": {"version": 2, "auto_wrap_policy": "NO_WRAP"}},
}


def main(mode: str, output: str, batch_size: int) -> None:
    ids = [list(range(5 + i, 15 + i)) for i in range(16)]
    arguments = TrainingArguments(
        output_dir=output,
        use_cpu=True,
        max_steps=6,
        per_device_train_batch_size=batch_size,
        learning_rate=1e-2,
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
    rows = Dataset.from_list([{"input_ids": row, "labels": row} for row in ids])
    trainer = Trainer(model=tiny_llama(), args=arguments, train_dataset=rows)
    warm_up = Phase(until=0.5, entries=(Entry(pattern=r"layers\.1\."), Entry(pattern=".*", lr_mult=0.0)))
    entries = (Entry(pattern=r"layers\.0\.", lr_mult=0.1), Entry(pattern=".*"))
    plan = Plan(method="test", model=PlanModel(id="tiny"), entries=entries, phases=(warm_up,))
    attach(trainer, plan, defences="ema+kl_anchor", settings={"ema": {"decay": 0.5}, "kl_anchor": {"weight": 5.0}})
    trainer.train()
    shards = {isinstance(p, DTensor) for p in trainer.accelerator.unwrap_model(trainer.model).parameters()}
    assert shards == {mode == "fsdp2"}, "the parameters have to be sharded, or whole"
    found = {name: whole(p) for name, p in trainer.accelerator.unwrap_model(trainer.model).named_parameters()}
    if trainer.is_world_process_zero():
        torch.save(found, Path(output) / "weights.pt")


def whole(parameter):
    """The whole of a parameter, of which every process may hold a part."""
    parameter = parameter.detach()
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter.clone()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
