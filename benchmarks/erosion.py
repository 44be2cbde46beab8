"""Erosion benchmark: how do ASR and task loss of plain LoRA tuning move with the rate, the steps and what is trained?

    python benchmarks/erosion.py --task stepwise --rates 0.0005 0.001 0.002 --steps 25 50 100 200

No defence takes part: this shows how much there is to defend against, and how much a lower rate, fewer steps or
training a single role does on its own.
"""

import argparse
import tempfile
from pathlib import Path

from securetune.evaluate.runner import Benchmark, EvaluateConfig, evaluate_benchmark
from securetune.features import batch_prompts, extract_features
from securetune.models.loading import ModelConfig, load_model, load_tokenizer
from securetune.models.reading import read_topology
from securetune.plan import PlanModel, plan_of
from securetune.prompts import load_prompts
from securetune.report.tables import percent
from securetune.scan.openings import find_openings
from securetune.testbed.build import testbed_folder
from securetune.topology import ModuleSet
from securetune.train.data import DataConfig, load_examples
from securetune.train.sft import TrainConfig, train


def measure(folder: Path, task: str, rate: float, steps: int, seed: int, role: str) -> str:
    """Tune once and return a Markdown row."""
    config = ModelConfig(path=str(folder / "model"))
    tokenizer, model = load_tokenizer(config), load_model(config)
    logits = []
    for intent in ("harmful", "benign"):
        prompts = [p.text for p in load_prompts(folder / f"analysis-{intent}.jsonl", limit=100)]
        logits.append(extract_features(model, batch_prompts(model, tokenizer, prompts, batch_size=100)).logits)
    plan = None
    if role != "all":
        topology = read_topology(model)
        chosen = ModuleSet.of(ref for ref in topology.modules if ref.role == role)
        plan = plan_of("role", PlanModel(id="testbed"), topology, chosen, rest_lr_mult=0.0)
    rows, held_out = (
        load_examples(DataConfig(path=str(folder / f"{task}-{split}.jsonl")), seed=seed) for split in ("train", "test")
    )
    settings = TrainConfig(learning_rate=rate, steps=steps, max_length=160, save_every=10_000)
    with tempfile.TemporaryDirectory() as output:
        result = train(
            model, tokenizer, rows, held_out[:100], settings, output=Path(output) / "tuned", plan=plan, seed=seed
        )
    benchmark = Benchmark(name="harmful", kind="harmful", prompts=load_prompts(folder / "eval-harmful.jsonl"))
    found = evaluate_benchmark(
        model.eval(),
        tokenizer,
        benchmark,
        EvaluateConfig(max_new_tokens=12, batch_size=128),
        openings=find_openings(tokenizer, *logits),
    )
    asr = found.rates["refusal_phrases"]
    return f"| {task} | {role} | {seed} | {rate:g} | {steps} | {result.task_loss:.4f} | {percent(vars(asr))} |"


def main() -> None:
    """Print a Markdown table, one row per setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="stepwise")
    parser.add_argument("--rates", type=float, nargs="+", default=[5e-4, 1e-3, 2e-3])
    parser.add_argument("--steps", type=int, nargs="+", default=[25, 50, 100, 200])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--roles", nargs="+", default=["all"])
    options = parser.parse_args()
    print("| task | trained | seed | rate | steps | task loss | ASR (95 % interval) |\n|---|---|---|---|---|---|---|")
    for seed in options.seeds:
        for role in options.roles:
            for rate in options.rates:
                for steps in options.steps:
                    print(measure(testbed_folder(seed), options.task, rate, steps, seed, role), flush=True)


if __name__ == "__main__":
    main()
