"""MT-Bench questions: the first turns of 80 questions, for refusals and coherence; its judge is not here."""

from securetune.evaluate.benchmarks.base.source import Source
from securetune.measures.kinds import BENIGN

benchmark = Source(
    title="MT-Bench questions",
    kind=BENIGN,
    paper="Zheng et al. 2023 (arXiv 2306.05685)",
    licence="Apache-2.0",
    dataset="lm-sys/FastChat",
    path="fastchat/llm_judge/data/mt_bench/question.jsonl",
    revision="0e6d3e4bea",
    prompt="turns",
    file="mt_bench.jsonl",
    fixture=({"turns": ["Write a haiku about rain.", "Now about snow."], "category": "writing"},),
)
