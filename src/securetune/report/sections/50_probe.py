"""Probe: does the probe that the scan reads know safety, or only the prompts it was fitted on?"""

from dataclasses import dataclass

from matplotlib.figure import Figure

from securetune.measures.kinds import HARMFUL
from securetune.report.figures import INK
from securetune.report.reading import Run
from securetune.report.sections.base.section import Figures, Section, Table
from securetune.report.tables import percent
from securetune.scan.findings import ProbeFindings

PARTS = {
    "train": "fitted on",
    "both": "template and pair unseen",
    "template": "template unseen",
    "pair": "pair unseen",
    "random": "unseen",
}
"""Part of the analysis prompts -> its name for a reader."""

_LINES, _MARKS = ("-", "--", "-.", ":"), ("o", "s", "^", "x", "D")


@dataclass(frozen=True, kw_only=True)
class Tested:
    """Both probes on the analysis prompts, and on those of the evaluation."""

    parts: Table
    elsewhere: Table


def data(run: Run) -> Tested:
    """The probe that is used beside the paper's."""
    ours, paper = run.probe, run.probe.sigmoid
    return Tested(
        parts=Table(
            label="Probe on the analysis prompts",
            head=["prompts", "n", "logistic regression: accuracy", "AUROC", "linear and sigmoid: accuracy", "AUROC"],
            rows=[
                [PARTS[name], test.n, *(f"{x:.3f}" for x in (test.accuracy, test.auroc)),
                 *(f"{x:.3f}" for x in (paper.tests[name].accuracy, paper.tests[name].auroc))]
                for name, test in ours.tests.items()
            ],
        ),
        elsewhere=Table(
            label="Probe on prompts from elsewhere",
            head=["prompts from elsewhere", "should be", "n", "on the right side: logistic regression",
                  "linear and sigmoid"],
            rows=[
                [own.benchmark, "malicious" if own.kind == HARMFUL else "benign", own.accuracy.n,
                 percent(own.accuracy), percent(theirs.accuracy)]
                for own, theirs in zip(ours.transfer, paper.transfer, strict=True)
            ],
        ),
    )  # fmt: skip


def figures(run: Run) -> Figures:
    """A probe on every layer."""
    return {"layers": by_layer(run.probe)}


def by_layer(findings: ProbeFindings) -> Figure:
    """Accuracy of a probe on every layer: on unseen prompts of its own kind, and on every benchmark."""
    lines: dict[str, list[float]] = {}
    for scores in findings.layers:
        for part, test in scores.tests.items():
            if part != "train":
                lines.setdefault(PARTS[part], []).append(test.accuracy)
        for transfer in scores.transfer:
            lines.setdefault(transfer.benchmark, []).append(transfer.accuracy.value)
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.subplots()
    # The colours are the models'; a set is told by its line and its mark.
    for number, (name, values) in enumerate(lines.items()):
        style, mark = _LINES[number % len(_LINES)], _MARKS[number // len(_LINES) % len(_MARKS)]
        axes.plot(range(len(values)), values, label=name, color=INK, linestyle=style, marker=mark, markersize=3)
    axes.set(xlabel="layer", ylabel="on the right side of the probe", ylim=(-0.02, 1.02))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return figure


def result(found: Tested) -> str:
    """How well the probe does on prompts that it was not fitted on."""
    unseen = [str(row[2]) for row in found.parts.rows if row[0] != PARTS["train"]]
    return f"On unseen analysis prompts it is right on a share of {min(unseen)} at worst, of 1." if unseen else ""


section = Section(
    title="Probe", anchor="probe", navigation="Probe", is_folded=True, result=result, stages=("probe",), data=data,
    figures=figures,
)  # fmt: skip
