"""Tables: from a run's artifacts to rows a reader can compare."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from securetune.base.artifacts import Artifact, RunFolder
from securetune.defences.base.arm import PLAIN, Arm
from securetune.measures.loss_target import LossTarget
from securetune.measures.statistics import holm
from securetune.scan.draws import REFITTED, SPECIFIC, Draws, intervals, mean_drops, standard_errors

PROBE_TESTS = {
    "train": "fitted on",
    "both": "template and pair unseen",
    "template": "template unseen",
    "pair": "pair unseen",
    "random": "unseen",
}
"""Part of the analysis prompts -> its name for a reader."""

Number = dict[str, Any]
"""An estimate as stored: value, n, low, high."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model of the comparison."""

    arm: str
    title: str
    steps: int | None
    loss: float
    loss_ratio: float | None
    """Held-out task loss over plain tuning's; None for the model before tuning."""
    matched: bool | None
    score: Number | None
    """Task metric, where the task has one."""
    is_defence: bool
    """Whether the arm is meant to protect; the model before tuning, plain tuning and baselines are not."""
    benchmarks: list[dict[str, Any]]
    """As evaluated: name, kind, rates per judge, paired tests, coherence, margin."""

    @property
    def versus_plain(self) -> str:
        """Task loss against plain tuning's, for reading: ``+1.23 %``; marked where it is not matched."""
        if self.loss_ratio is None:
            return "–"
        return f"{100 * (self.loss_ratio - 1):+.2f} %{' (not matched)' if self.matched is False else ''}"

    def headline(self, kind: str) -> Number:
        """First judge's rate on the first benchmark of a kind."""
        first = next(b for b in self.benchmarks if b["kind"] == kind)
        return _first(first)


def comparison(evaluated: Sequence[Artifact], trained: Sequence[Artifact]) -> list[Row]:
    """One row per model, the model before tuning first."""
    runs = {artifact.variant: artifact.data for artifact in trained}
    losses = {artifact.variant: artifact.data["task"]["loss"] for artifact in evaluated}
    plain = losses.get(PLAIN)
    rows = []
    for artifact in evaluated:
        arm = artifact.variant or ""
        run, loss = runs.get(arm), losses[arm]
        rows.append(
            Row(
                arm=arm,
                title="before tuning" if run is None else Arm.parse(arm).title,
                steps=run["steps"] if run else None,
                loss=loss,
                loss_ratio=loss / plain if run and plain else None,
                matched=LossTarget(start=losses["base"], plain=plain).is_matched(loss)
                if plain and arm not in ("base", PLAIN)
                else None,
                score=artifact.data["task"]["score"],
                is_defence=run is not None and Arm.parse(arm).is_defence,
                benchmarks=artifact.data["benchmarks"],
            )
        )
    return rows


def modules(draws: Draws, signal: str) -> list[dict[str, str]]:
    """Every module's drop with its standard error, and what safety loses more than the controls with its interval."""
    drops, errors = mean_drops(draws, signal), standard_errors(draws, signal)
    refitted = mean_drops(draws, REFITTED) if REFITTED in next(iter(draws.values()))[0] else {}
    specific = mean_drops(draws, SPECIFIC) if SPECIFIC in next(iter(draws.values()))[0] else {}
    reach = intervals(draws, SPECIFIC) if specific else {}
    return [
        {
            "module": ref,
            "drop": f"{drops[ref]:.3f} ± {errors[ref]:.3f}",
            "refitted": f"{refitted[ref]:.3f}" if refitted else "–",
            "specific": f"{specific[ref]:.3f} [{reach[ref][0]:.3f}, {reach[ref][1]:.3f}]" if specific else "–",
        }
        for ref in sorted(draws, key=lambda ref: -drops[ref])
    ]


def percent(number: Number | None) -> str:
    """``12.3 % [10.1, 14.9]``; a dash where there is no number."""
    if number is None:
        return "–"
    return f"{100 * number['value']:.1f} % [{100 * number['low']:.1f}, {100 * number['high']:.1f}]"


def set_title(benchmark: Mapping[str, Any]) -> str:
    """``ASR: AdvBench (n=256)``, the head of a benchmark's column."""
    what = {"harmful": "ASR", "benign": "over-refusal", "skill": "right"}[benchmark["kind"]]
    return f"{what}: {benchmark['benchmark']} (n={benchmark['coherent']['n']})"


def markdown(rows: Sequence[Row]) -> str:
    """Every benchmark's first-judge rate of every model, as a Markdown table."""
    head = ["model", *(set_title(b) for b in rows[0].benchmarks)]
    head += ["broken answers, worst set", "task metric", "task loss", "vs IFT", "steps"]
    told = []
    for row in rows:
        fields = [row.title, *(percent(_first(b)) for b in row.benchmarks)]
        fields += [
            percent(max((b["broken"] for b in row.benchmarks), key=lambda c: c["value"])),
            percent(row.score),
            f"{row.loss:.4f}",
            row.versus_plain,
            "–" if row.steps is None else str(row.steps),
        ]
        told.append(fields)
    return "\n".join(markdown_table(head, told)) + "\n"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def csv_text(rows: Sequence[Row]) -> str:
    """One line per model, benchmark and judge, for a spreadsheet."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("arm", "model", "benchmark", "kind", "judge", "rate", "low", "high", "n", "task_loss", "steps"))
    for row in rows:
        for benchmark in row.benchmarks:
            for judge, rate in benchmark["rates"].items():
                numbers = (rate["value"], rate["low"], rate["high"], rate["n"], row.loss, row.steps)
                writer.writerow((row.arm, row.title, benchmark["benchmark"], benchmark["kind"], judge, *numbers))
    return stream.getvalue()


def latex(rows: Sequence[Row]) -> str:
    """Every benchmark's first-judge rate of every model, as a LaTeX table (package booktabs)."""
    sets = rows[0].benchmarks
    head = " & ".join(("model", *(_escaped(set_title(b)) for b in sets), "task loss"))
    lines = [
        " & ".join((_escaped(row.title), *(_escaped(percent(_first(b))) for b in row.benchmarks), f"{row.loss:.4f}"))
        for row in rows
    ]
    body = " \\\\\n".join(lines)
    return (
        f"\\begin{{tabular}}{{l{'r' * (len(sets) + 1)}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body} \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def _first(benchmark: Mapping[str, Any]) -> Number:
    rate: Number = next(iter(benchmark["rates"].values()))
    return rate


def _escaped(text: str) -> str:
    return re.sub(r"([%&_#$])", r"\\\1", text)


def adjusted(row: Row) -> dict[str, dict[str, float]]:
    """McNemar's p of every judge (outer) and benchmark (inner) of a model, adjusted for the number of sets (Holm)."""
    found: dict[str, dict[str, float]] = {}
    for benchmark in row.benchmarks:
        for judge, test in benchmark["against_base"].items():
            if test is not None:
                found.setdefault(judge, {})[benchmark["benchmark"]] = test["p"]
    return {judge: dict(zip(sets, holm(list(sets.values())), strict=True)) for judge, sets in found.items()}


def recovered(rows: Sequence[Row], row: Row) -> float | None:
    """Share of plain tuning's ASR rise that a defence takes back; None where the rise is below ten points."""
    by_arm = {r.arm: r.headline("harmful")["value"] for r in rows}
    rise = by_arm.get(PLAIN, 0.0) - by_arm.get("base", 0.0)
    return (by_arm[PLAIN] - by_arm[row.arm]) / rise if rise >= 0.1 and row.arm not in ("base", PLAIN) else None


def rises(rows: Sequence[Row], row: Row) -> dict[str, float]:
    """By how much the first judge's ASR of a model lies above the model before tuning's, on every harmful set."""
    base = next(r for r in rows if r.arm == "base")
    pairs = zip(base.benchmarks, row.benchmarks, strict=True)
    return {b["benchmark"]: _first(a)["value"] - _first(b)["value"] for b, a in pairs if b["kind"] == "harmful"}


def side_by_side(folder: RunFolder, rows: Sequence[Row], limit: int = 40) -> list[dict[str, Any]]:
    """Prompts whose answer changed sides under plain tuning, with every model's answer to them.

    Harmful prompts that were refused and are answered now come first, then the rest in the order of the file.
    """
    examples = []
    for sets in zip(*(answered(folder, row.arm) for row in rows), strict=True):
        for answers in zip(*(found["answers"] for found in sets), strict=True):
            texts = {
                row.title: {"text": answer["text"], "refused": next(iter(answer["refused"].values()))}
                for row, answer in zip(rows, answers, strict=True)
            }
            examples.append({
                "benchmark": sets[0]["benchmark"],
                "kind": sets[0]["kind"],
                "prompt": answers[0]["prompt"],
                "answers": texts,
                "changed": len({entry["refused"] for entry in texts.values()}) > 1,
                "eroded": _refused(texts, "before tuning") and not _refused(texts, Arm.parse(PLAIN).title),
            })  # fmt: skip
    examples.sort(key=lambda example: (not example["changed"], example["kind"] != "harmful"))
    return examples[:limit]


def _refused(texts: Mapping[str, Mapping[str, Any]], title: str) -> bool:
    return title in texts and bool(texts[title]["refused"])


def answered(folder: RunFolder, arm: str) -> list[dict[str, Any]]:
    """Every benchmark of a model with its answers; the same benchmarks and prompts in the same order for all."""
    path = folder.file("evaluate", arm, ".answers.json")
    answered: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    return answered
