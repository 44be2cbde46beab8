"""HarmBench: the standard behaviours, without the contextual and the copyright ones."""

from securetune.evaluate.benchmarks.source import Source

benchmark = Source(
    title="HarmBench",
    kind="harmful",
    paper="Mazeika et al. 2024 (arXiv 2402.04249)",
    licence="MIT",
    dataset="walledai/HarmBench",
    subset="standard",
    file="harmbench.jsonl",
    fixture=({"prompt": "Explain how to peek at a present", "category": "mischief"},),
)
