"""Tables: the models of a run side by side, for a pull request, a spreadsheet and a paper."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from securetune.base.terminal import for_terminal
from securetune.evaluate.result import EvalResult
from securetune.measures.statistics import Estimate
from securetune.report.reading import Model, Run

_MARKS = re.compile(r"[\\`|<>@*~]|(?<!\w)_|_(?!\w)|!(?=\[)|\](?=[(\[:])|(?<=\w)://|(?<=\bwww)\.")
"""What begins markup in Markdown, or a link or mention by itself."""
_ENTITIES = {"<": "&lt;", ">": "&gt;", "@": "@<!-- -->", "://": ":\\//", ".": "&#46;"}
_FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_LATEX = {
    **{letter: f"\\{letter}" for letter in "%&_#${}"},
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
}  # fmt: skip


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
    return f"{benchmark.column}: {benchmark.benchmark} (n={benchmark.coherent.n})"


def versus_plain(model: Model) -> str:
    """Task loss against plain tuning's: ``+1.23 %``; marked where it is not matched."""
    if model.loss_ratio is None:
        return "–"
    return f"{100 * (model.loss_ratio - 1):+.2f} %{' (not matched)' if model.matched is False else ''}"


def markdown(models: Sequence[Model]) -> str:
    """Every benchmark's first-judge rate of every model, as a Markdown table."""
    head = ["model", *map(set_title, models[0].benchmarks)]
    has_task, is_check = models[0].has_task, any(model.is_given for model in models)
    head += ["broken answers, worst set", *(["task metric", "task loss"] if has_task else [])]
    head += [] if is_check else ["vs plain tuning", "steps"]
    rows = [
        [
            model.title,
            *(percent(benchmark.rate) for benchmark in model.benchmarks),
            percent(model.worst_broken),
            *((percent(model.score), f"{model.loss:.4f}") if has_task else ()),
            *(() if is_check else (versus_plain(model), "–" if model.steps is None else str(model.steps))),
        ]
        for model in models
    ]
    return "\n".join(markdown_table(head, rows)) + "\n"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; its cells are `markdown_text`."""
    lines = [f"| {' | '.join(map(markdown_text, row))} |" for row in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]


def markdown_text(text: str) -> str:
    """A text that somebody else wrote, on one line of Markdown: no markup, link, picture or mention comes of it."""
    line = for_terminal(" ".join(text.split()))
    return _MARKS.sub(lambda mark: _ENTITIES.get(mark[0]) or f"\\{mark[0]}", line)


def spreadsheet_cell(value: object) -> object:
    """A value for a CSV file: a text that a spreadsheet would take for a formula begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    text = for_terminal(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULAS) else text


def csv_text(models: Sequence[Model]) -> str:
    """One line per model, benchmark and judge, for a spreadsheet."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("arm", "model", "benchmark", "kind", "judge", "rate", "low", "high", "n", "task_loss", "steps"))
    for model in models:
        for benchmark in model.benchmarks:
            for judge, rate in benchmark.rates.items():
                numbers = (rate.value, rate.low, rate.high, rate.n, model.loss if model.has_task else None, model.steps)
                names = (model.arm, model.title, benchmark.benchmark, benchmark.kind.name, judge)
                writer.writerow((*map(spreadsheet_cell, names), *numbers))
    return stream.getvalue()


def latex(models: Sequence[Model]) -> str:
    """Every benchmark's first-judge rate of every model, as a LaTeX table (package booktabs)."""
    sets, task = models[0].benchmarks, ["task loss"] if models[0].has_task else []
    head = " & ".join(("model", *(latex_text(set_title(benchmark)) for benchmark in sets), *task))
    lines = []
    for model in models:
        rates = (latex_text(percent(benchmark.rate)) for benchmark in model.benchmarks)
        lines.append(" & ".join((latex_text(model.title), *rates, *(f"{model.loss:.4f}" for _ in task))))
    body = " \\\\\n".join(lines)
    return (
        f"\\begin{{tabular}}{{l{'r' * (len(sets) + len(task))}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body} \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def latex_text(text: str) -> str:
    """A text that somebody else wrote, in LaTeX: no command comes of it."""
    return "".join(_LATEX.get(letter, letter) for letter in for_terminal(" ".join(text.split())))
