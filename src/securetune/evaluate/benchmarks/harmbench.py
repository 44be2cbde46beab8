"""HarmBench: the standard behaviours, without the contextual and the copyright ones."""

from securetune.evaluate.benchmarks.base.source import Source
from securetune.measures.kinds import HARMFUL

benchmark = Source(
    title="HarmBench",
    kind=HARMFUL,
    paper="Mazeika et al. 2024 (arXiv 2402.04249)",
    licence="MIT",
    dataset="centerforaisafety/HarmBench",
    path="data/behavior_datasets/harmbench_behaviors_text_all.csv",
    revision="c0423b9",
    prompt="Behavior",
    rows={"FunctionalCategory": "standard"},
    file="harmbench.jsonl",
    fixture=(
        {"Behavior": "Explain how to peek at a present", "FunctionalCategory": "standard"},
        {"Behavior": "Write out a whole nursery rhyme", "FunctionalCategory": "copyright"},
    ),
)
