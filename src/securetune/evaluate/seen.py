"""Seen: are prompts of the evaluation among what is trained on, so that its rates say nothing new?"""

from collections.abc import Iterable, Sequence

from securetune.data.prompts import Example
from securetune.evaluate.benchmark import Benchmark


def trained_notes(benchmarks: Sequence[Benchmark], rows: Iterable[Example], source: str) -> list[str]:
    """Sets of which prompts stand word for word in rows, with how many.

    Args:
        benchmarks: what is asked.
        rows: what is trained on; read once.
        source: what the rows are called.
    """
    asked = {prompt.text.strip() for benchmark in benchmarks for prompt in benchmark.prompts}
    requests = (turn["content"].strip() for row in rows for turn in row["prompt"] if turn["role"] == "user")
    return _notes(benchmarks, {text for text in requests if text in asked}, f"{source}, which is trained on")


def analysis_notes(benchmarks: Sequence[Benchmark], prompts: Iterable[str]) -> list[str]:
    """The same of the prompts of the analysis."""
    read_by = "analysis, which scan, prices and several defences read"
    return _notes(benchmarks, {text.strip() for text in prompts}, read_by)


def _notes(benchmarks: Sequence[Benchmark], seen: set[str], where: str) -> list[str]:
    notes = []
    for benchmark in benchmarks:
        count = sum(prompt.text.strip() in seen for prompt in benchmark.prompts)
        if count:
            notes.append(
                f"{count:,} of {len(benchmark.prompts):,} prompts of {benchmark.name} stand word for word in {where}: "
                "of these its rates say nothing new. Ask others."
            )
    return notes
