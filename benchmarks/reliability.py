"""Reliability of the scan: do two independent halves of its draws rank the modules alike?

    python benchmarks/reliability.py runs/embedded/letters-0 runs/embedded/letters-1 runs/embedded/letters-2

Spearman correlation between the halves of a finished scan's draws, over all modules and without layer 0.
"""

import sys
from pathlib import Path

from securetune.artifacts import RunFolder
from securetune.scan.agreement import Agreement, repeat_agreement
from securetune.scan.draws import from_layer


def main() -> None:
    """Print a Markdown table for the run folders given."""
    print("| run | signal | all modules | without layer 0 |\n|---|---|---|---|")
    for path in map(Path, sys.argv[1:]):
        scan = RunFolder(path).read("scan")
        assert scan is not None, path
        everywhere, beyond = (repeat_agreement(from_layer(scan.data["draws"], lowest)) for lowest in (0, 1))
        for all_modules, later in zip(everywhere, beyond, strict=True):
            print(f"| {path.name} | {all_modules.a} | {_cell(all_modules)} | {_cell(later)} |")


def _cell(found: Agreement) -> str:
    if found.rho is None:
        return f"no variation (n={found.n})"
    return f"{found.rho:.2f} [{found.low:.2f}, {found.high:.2f}] (n={found.n})"


if __name__ == "__main__":
    main()
