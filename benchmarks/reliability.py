"""Reliability of the scan: do two independent draws of the perturbation rank the modules alike?

    python benchmarks/reliability.py runs/embedded/stepwise-0 runs/embedded/stepwise-1 runs/embedded/stepwise-2

Spearman correlation between the first two draws of a finished scan, over all modules and without layer 0.
"""

import sys
from pathlib import Path

from scipy.stats import spearmanr

from securetune.artifacts import RunFolder
from securetune.scan.signals import SIGNALS
from securetune.topology import ModuleRef


def main() -> None:
    """Print a Markdown table for the run folders given."""
    print("| run | signal | all modules | without layer 0 |\n|---|---|---|---|")
    for path in map(Path, sys.argv[1:]):
        scan = RunFolder(path).read("scan")
        assert scan is not None, path
        for signal in SIGNALS:
            cells = []
            for lowest in (0, 1):
                kept = [d for ref, d in scan.data["draws"].items() if ModuleRef.parse(ref).layer >= lowest]
                found = spearmanr([d[0][signal] for d in kept], [d[1][signal] for d in kept]).statistic
                cells.append(f"{found:.2f} (n={len(kept)})" if found == found else f"no variation (n={len(kept)})")
            print(f"| {path.name} | {signal} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
