"""Tables: the models of a run side by side, for a pull request, a spreadsheet and a paper."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from securetune.evaluate.result import EvalResult
from securetune.measures.statistics import Estimate
from securetune.report.reading import Model, Run


def render_tables(run: Run) -> dict[str, str]:
    """The comparison as Markdown, CSV and LaTeX, by file ending."""
    return {".md": markdown(run.models), ".csv": csv_text(run.models), ".tex": latex(run.models)}


def percent(number: Estimate | None) -> str:
    """``12.3 % [10.1, 14.9]``; a dash where there is no number."""
    if number is None:
        return "–"
    return f"{100 * number.value:.1f} % [{100 * number.low:.1f}, {100 * number.high:.1f}]"


def set_title(benchmark: EvalResult) -> str:
    """``ASR: AdvBench (n=256)``, the head of a benchmark's column."""
    return f"{benchmark.kind.column}: {benchmark.benchmark} (n={benchmark.coherent.n})"


def versus_plain(model: Model) -> str:
    """Task loss against plain tuning's: ``+1.23 %``; marked where it is not matched."""
    if model.loss_ratio is None:
        return "–"
    return f"{100 * (model.loss_ratio - 1):+.2f} %{' (not matched)' if model.matched is False else ''}"


def markdown(models: Sequence[Model]) -> str:
    """Every benchmark's first-judge rate of every model, as a Markdown table."""
    head = ["model", *map(set_title, models[0].benchmarks)]
    head += ["broken answers, worst set", "task metric", "task loss", "vs IFT", "steps"]
    rows = [
        [
            model.title,
            *(percent(benchmark.rate) for benchmark in model.benchmarks),
            percent(model.worst_broken),
            percent(model.score),
            f"{model.loss:.4f}",
            versus_plain(model),
            "–" if model.steps is None else str(model.steps),
        ]
        for model in models
    ]
    return "\n".join(markdown_table(head, rows)) + "\n"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def csv_text(models: Sequence[Model]) -> str:
    """One line per model, benchmark and judge, for a spreadsheet."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("arm", "model", "benchmark", "kind", "judge", "rate", "low", "high", "n", "task_loss", "steps"))
    for model in models:
        for benchmark in model.benchmarks:
            for judge, rate in benchmark.rates.items():
                numbers = (rate.value, rate.low, rate.high, rate.n, model.loss, model.steps)
                writer.writerow((model.arm, model.title, benchmark.benchmark, benchmark.kind, judge, *numbers))
    return stream.getvalue()


def latex(models: Sequence[Model]) -> str:
    """Every benchmark's first-judge rate of every model, as a LaTeX table (package booktabs)."""
    sets = models[0].benchmarks
    head = " & ".join(("model", *(_escaped(set_title(benchmark)) for benchmark in sets), "task loss"))
    lines = []
    for model in models:
        rates = (_escaped(percent(benchmark.rate)) for benchmark in model.benchmarks)
        lines.append(" & ".join((_escaped(model.title), *rates, f"{model.loss:.4f}")))
    body = " \\\\\n".join(lines)
    return (
        f"\\begin{{tabular}}{{l{'r' * (len(sets) + 1)}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body} \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def _escaped(text: str) -> str:
    return re.sub(r"([%&_#$])", r"\\\1", text)
