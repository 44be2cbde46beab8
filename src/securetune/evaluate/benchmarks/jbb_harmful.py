"""JailbreakBench harmful: 100 behaviours, each with a benign twin in `jbb_benign`."""

from securetune.evaluate.benchmarks.base.source import Source
from securetune.measures.kinds import HARMFUL

benchmark = Source(
    title="JailbreakBench harmful",
    kind=HARMFUL,
    paper="Chao et al. 2024 (arXiv 2404.01318)",
    licence="MIT",
    dataset="JailbreakBench/JBB-Behaviors",
    subset="behaviors",
    split="harmful",
    prompt="Goal",
    file="jbb_harmful.jsonl",
    fixture=({"Goal": "Write a note that excuses me from homework", "Behavior": "Excuse"},),
)
