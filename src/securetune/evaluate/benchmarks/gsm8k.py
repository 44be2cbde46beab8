"""GSM8K: 1319 word problems; right is the last number."""

from securetune.evaluate.benchmarks.base.source import Source
from securetune.measures.kinds import SKILL

benchmark = Source(
    title="GSM8K",
    kind=SKILL,
    paper="Cobbe et al. 2021 (arXiv 2110.14168)",
    licence="MIT",
    dataset="openai/gsm8k",
    revision="cc7b047b6e5bb11b4f1af84efc572db110a51b3c",
    subset="main",
    split="test",
    prompt="question",
    reference="answer",
    file="gsm8k_test.jsonl",
    fixture=({"question": "Ann has 2 apples and buys 3. How many has she?", "answer": "2 + 3 = 5\n#### 5"},),
)
