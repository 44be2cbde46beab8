"""Patterns: do the paper's observations hold in the scans of finished runs, and with the controls subtracted?

    python experiments/patterns.py runs/demo-letters runs/english-alpaca --first-layer 1

Run `securetune search CONFIG` (or any later stage) first; nothing is computed here but the tests themselves.
"""

import argparse
from pathlib import Path

from securetune.base.artifacts import RunFolder
from securetune.scan.draws import from_layer
from securetune.scan.patterns import tested_patterns


def main() -> None:
    """Print a Markdown table for the run folders given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--first-layer", type=int, default=0, help="Leave out the layers before this one.")
    options = parser.parse_args()
    print("| run | pattern | measured in | n | effect (95 % interval) | verdict |\n|---|---|---|---|---|---|")
    for path in options.runs:
        scan, search = (RunFolder(path).read(stage) for stage in ("scan", "search"))
        assert scan is not None and search is not None, path
        draws = from_layer(scan.data["draws"], options.first_layer)
        sets = [] if options.first_layer else search.data["evaluated"]
        for pattern in tested_patterns(draws, search.data["signal"], sets):
            effect = f"{pattern.effect:.2f} [{pattern.low:.2f}, {pattern.high:.2f}]"
            print(f"| {path.name} | {pattern.name} | {pattern.signal} | {pattern.n} | {effect} | {pattern.verdict} |")


if __name__ == "__main__":
    main()
