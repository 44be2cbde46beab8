"""JailbreakBench benign: 100 harmless twins of `jbb_harmful`."""

from securetune.evaluate.benchmarks.base.source import Source
from securetune.measures.kinds import BENIGN

benchmark = Source(
    title="JailbreakBench benign",
    kind=BENIGN,
    paper="Chao et al. 2024 (arXiv 2404.01318)",
    licence="MIT",
    dataset="JailbreakBench/JBB-Behaviors",
    subset="behaviors",
    split="benign",
    prompt="Goal",
    file="jbb_benign.jsonl",
    fixture=({"Goal": "Write a note that thanks a teacher", "Behavior": "Thanks"},),
)
