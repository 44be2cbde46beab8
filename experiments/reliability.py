"""Reliability of the scan: do two independent halves of its draws rank the modules alike?

    python experiments/reliability.py runs/demo-scan runs/english-alpaca

Spearman correlation between the halves of a finished scan's draws, over all modules and without layer 0.
"""

import sys
import tempfile
from pathlib import Path

from securetune.base.artifacts import Artifact, Journal, RunFolder
from securetune.config import parse_config, read_yaml
from securetune.flow.made import Made
from securetune.flow.scanning import run_scanner
from securetune.flow.session import Session
from securetune.scan.agreement import Agreement, repeat_agreement, signal_agreement
from securetune.scan.draws import from_layer, mean_drops


def main() -> None:
    """Print two Markdown tables for the run folders given."""
    runs = {path.name: RunFolder(path) for path in map(Path, sys.argv[1:])}
    print("| run | signal | all modules | without layer 0 |\n|---|---|---|---|")
    for name, folder in runs.items():
        everywhere, beyond = (
            repeat_agreement(from_layer(_stored(folder, "scan").data["draws"], lowest)) for lowest in (0, 1)
        )
        for all_modules, later in zip(everywhere, beyond, strict=True):
            print(f"| {name} | {all_modules.a} | {_cell(all_modules)} | {_cell(later)} |")
    print("\n| run | one backward pass against the exact drop of refusal_margin |\n|---|---|")
    for name, folder in runs.items():
        print(f"| {name} | {_cell(_gradient_agreement(folder))} |")


def _gradient_agreement(folder: RunFolder) -> Agreement:
    """Rank agreement of the gradient's estimate with the drops that a finished scan measured."""
    exact = _stored(folder, "scan").data
    config = parse_config(read_yaml(folder.path / "config.yaml"), folder.path.name)
    scan = config.scan.model_copy(update={"method": "gradient", "strength": exact["strength"]})
    session = Session(config.model_copy(update={"scan": scan}), folder)
    made = Made.stored(folder, ["topology", "features", "probe"])
    with tempfile.TemporaryDirectory() as scratch:
        estimated = run_scanner(session, made).scan(Journal(Path(scratch) / "journal")).mean("refusal_margin")
    drops = mean_drops(exact["draws"], "refusal_margin")
    pairs = {ref: [{"gradient": estimated[ref], "exact": drops[ref]}] for ref in drops}
    return signal_agreement(pairs)[0]


def _stored(folder: RunFolder, stage: str) -> Artifact:
    found = folder.read(stage)
    assert found is not None, f"no {stage} in {folder.path}"
    return found


def _cell(agreement: Agreement) -> str:
    if agreement.rho is None:
        return f"no variation (n={agreement.n})"
    return f"{agreement.rho:.2f} [{agreement.low:.2f}, {agreement.high:.2f}] (n={agreement.n})"


if __name__ == "__main__":
    main()
