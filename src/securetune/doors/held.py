"""Held: what does every door give back that has measured tuned models and held them against budgets?"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from securetune.report.gate import Budgets, Check, passes
from securetune.report.reading import Run
from securetune.report.verdict import verdict

_HEAD = ("model", "what", "on", "before", "after", "change", "allowed", "prompts", "finding")


@dataclass(frozen=True, kw_only=True)
class Held:
    """Tuned models with their numbers, and what the gate says of them."""

    run: Run
    """The models with every number, read from the folder."""
    checks: list[Check]
    """What the gate looked at."""
    budgets: Budgets
    """What it was held against."""

    @property
    def is_kept(self) -> bool:
        """Whether every budget was kept for sure, or as `budgets.unclear` lets it pass."""
        return all(passes(check, self.budgets) for check in self.checks)

    @property
    def verdict(self) -> str:
        """What happened, in a few sentences."""
        return verdict(self.run.models)

    def report(self, path: str | Path | None = None) -> Path:
        """Where the page with all of it lies; with a path, a copy of it there."""
        page = self.run.folder.file("report", suffix=".html")
        return page if path is None else Path(shutil.copyfile(page, path))

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, and every check as a row."""
        rows = [_row([f"<th>{escape(name)}</th>" for name in _HEAD])]
        for check in self.checks:
            style = "" if passes(check, self.budgets) else ' style="color: #b00020"'
            rows.append(_row([f"<td{style}>{escape(text)}</td>" for text in _cells(check)]))
        page = escape(str(self.run.folder.file("report", suffix=".html")))
        return f"<p>{escape(self.verdict)}</p><table>{''.join(rows)}</table><p>Report: <code>{page}</code></p>"


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _cells(check: Check) -> tuple[str, ...]:
    """The texts of a check's row, in the order of its head."""
    count = "" if check.n is None else str(check.n)
    return (
        check.arm,
        check.what,
        check.on,
        *check.levels,
        check.change,
        f"{100 * check.budget:.1f}",
        count,
        check.finding,
    )
