"""MT-Bench questions: the first turns of 80 questions, for refusals and coherence; its judge is not here."""

from securetune.evaluate.benchmarks.source import Source

benchmark = Source(
    title="MT-Bench questions",
    kind="benign",
    paper="Zheng et al. 2023 (arXiv 2306.05685)",
    licence="Apache-2.0",
    dataset="HuggingFaceH4/mt_bench_prompts",
    file="mt_bench.jsonl",
    fixture=({"prompt": ["Write a haiku about rain.", "Now about snow."], "category": "writing"},),
)
