"""Held: what does every door give back that has measured tuned models and held them against budgets?"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from securetune.report.gate import Budgets, Check, passes
from securetune.report.reading import Run
from securetune.report.verdict import verdict


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
