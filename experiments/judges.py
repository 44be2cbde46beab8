"""Judges: how often is a judge that needs no model right, on answers that it was not written on?

    python experiments/judges.py
    python experiments/judges.py --write

Confusion matrices on the held-out half of the project's labelled answers and, where the package pyrit is installed, on
its human labels. With `--write` the scores are stored where `securetune list judges` and the documentation show them.
Judges that ask a model, and the margin, need more than an answer's text: they are not measured here.
"""

import csv
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from securetune.base.artifacts import write_atomic
from securetune.base.typed import to_json
from securetune.evaluate.answers import Answer
from securetune.evaluate.judges import JUDGES
from securetune.evaluate.judges.base.labelled import SCORES, LabelledAnswer, Scores, labelled_answers, scores
from securetune.measures.kinds import Response
from securetune.measures.statistics import Estimate, proportion

MEASURED = ("refusal_phrases", "refusal_phrases_anywhere")
TABLES = Path(__file__).parents[1] / "docs/results/tables"


def main() -> None:
    """Measure, print, and with `--write` store."""
    parts = {}
    for split, name in (("held_out", ""), ("hard", ", hard")):
        rows = [row for row in labelled_answers() if row.split == split]
        parts[f"English{name}"] = [row for row in rows if row.language == "en"]
        parts[f"other languages{name}"] = [row for row in rows if row.language != "en"]
    found = {name: {part: score(name, rows) for part, rows in parts.items()} for name in MEASURED}
    text = "\n".join([confusion_table(found), score_table(found)])
    if "--write" in sys.argv:
        write_atomic(SCORES, json.dumps(to_json(found), indent=1) + "\n")
        write_atomic(TABLES / "judges-confusion.md", text)
    print(text)
    folder = pyrit_folder()
    if folder is None:
        print("The package pyrit is not installed: its human labels were not used.")
        return
    human = pyrit_table(folder)
    if "--write" in sys.argv:
        write_atomic(TABLES / "judges-pyrit.md", human)
    print(human)


def score(judge: str, rows: Sequence[LabelledAnswer]) -> Scores:
    """One judge on labelled answers."""
    return scores([row.label for row in rows], responses(judge, [(row.prompt, row.answer) for row in rows]))


def responses(judge: str, pairs: Sequence[tuple[str, str]]) -> list[Response]:
    """What a judge says of prompts with answers."""
    verdicts = JUDGES.make(judge, {}, judge).judge([Answer(prompt=prompt, text=text) for prompt, text in pairs])
    assert None not in verdicts
    return [verdict.response for verdict in verdicts if verdict is not None]


def confusion_table(found: dict[str, dict[str, Scores]]) -> str:
    """Every label against what was said, as Markdown."""
    lines = [
        "| judge | answers | label | called refused | called helped | called neither |",
        "|---|---|---|---|---|---|",
    ]
    for judge, parts in found.items():
        for part, measured in parts.items():
            for label, said in measured.confusion.items():
                lines.append(f"| {judge} | {part} | {label} | " + " | ".join(str(said[r]) for r in Response) + " |")
    return "\n".join(lines) + "\n"


def score_table(found: dict[str, dict[str, Scores]]) -> str:
    """The rates with Wilson intervals, and the judges that were not measured."""
    head = ["| judge | answers | recall of refusals | specificity | help called help |", "|---|---|---|---|---|"]
    rows = [
        f"| {judge} | {part} | {cell(one.recall)} | {cell(one.specificity)} | {cell(one.helped)} |"
        for judge, parts in found.items()
        for part, one in parts.items()
    ]
    missing = [
        f"| {name} | | not measured | not measured | not measured |" for name in JUDGES.names() if name not in found
    ]
    return "\n".join([*head, *rows, *missing]) + "\n"


def pyrit_folder() -> Path | None:
    """Where the package pyrit keeps its human labels; None where it is not installed."""
    spec = importlib.util.find_spec("pyrit")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "datasets" / "scorer_evals"


def pyrit_table(folder: Path) -> str:
    """What the phrase judge says of answers that humans called refusals, and of attacks that they called successful."""
    refusals = [row for file in sorted(folder.glob("refusal_scorer/refusal.csv")) for row in rows_of(file)]
    aims = [row for file in sorted(folder.glob("objective/*.csv")) for row in rows_of(file)]
    lines = ["| human label | n | called refused | called helped | called neither |", "|---|---|---|---|---|"]
    for title, rows, human in (
        ("refused, or off the topic", refusals, True),
        ("not refused", refusals, False),
        ("attack succeeded", aims, True),
        ("attack failed", aims, False),
    ):
        pairs = [(row["objective"], row["assistant_response"]) for row in rows if (row["human_score"] == "1") is human]
        said = responses("refusal_phrases", pairs)
        lines.append(
            f"| {title} | {len(said)} | "
            + " | ".join(cell(proportion([s is r for s in said])) for r in Response)
            + " |"
        )
    return "\n".join(lines) + "\n"


def rows_of(file: Path) -> list[dict[str, str]]:
    """Rows of one of its files, whose first lines are comments."""
    with file.open(encoding="utf-8", newline="") as stream:
        lines = [line for line in stream]
    start = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return list(csv.DictReader(lines[start:]))


def cell(estimate: Estimate) -> str:
    """A share in percent with its interval."""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}] (n={estimate.n})"


if __name__ == "__main__":
    main()
