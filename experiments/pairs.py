"""Pairs: does a scan repeat itself better, at as many passes, where every change is measured with its negative?

    python experiments/pairs.py runs/demo-scan --passes 8

For each run folder: a scan of single changes and one of pairs, at the strength of the run's own scan and with as many
passes for each module. Then Spearman's correlation between the halves of the draws, over all modules and without
layer 0.
"""

import argparse
import tempfile
from pathlib import Path

from securetune.base.artifacts import Journal, RunFolder
from securetune.config import parse_config, read_yaml
from securetune.flow.made import Made
from securetune.flow.scanning import run_scanner
from securetune.flow.session import Session
from securetune.scan.agreement import Agreement, repeat_agreement
from securetune.scan.draws import from_layer
from securetune.scan.result import ScanResult

UNPAIRED = f"{Path(__file__).parent / 'unpaired.py'}:perturbation"


def main() -> None:
    """Print a Markdown table for the run folders given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs")
    parser.add_argument("--passes", type=int, default=8, help="passes for each module; halves have half as many")
    options = parser.parse_args()
    print("| run | draws | signal | all modules | without layer 0 |\n|---|---|---|---|---|")
    for path in options.runs:
        for name, perturbation, draws in (
            (f"{options.passes} single changes", UNPAIRED, options.passes),
            (f"{options.passes // 2} pairs", "lowrank", options.passes // 2),
        ):
            found = scanned(RunFolder(path), perturbation, draws)
            everywhere, beyond = (repeat_agreement(from_layer(found.draws, lowest)) for lowest in (0, 1))
            for all_modules, later in zip(everywhere, beyond, strict=True):
                print(f"| {path.name} | {name} | {all_modules.a} | {_cell(all_modules)} | {_cell(later)} |", flush=True)


def scanned(folder: RunFolder, perturbation: str, draws: int) -> ScanResult:
    """A scan of a finished run's model with other draws."""
    config = parse_config(read_yaml(folder.path / "config.yaml"), folder.path.name)
    stored = folder.read("scan")
    assert stored is not None, f"no scan in {folder.path}"
    scan = config.scan.model_copy(
        update={
            "perturbation": perturbation,
            "strength": stored.data["strength"],
            "draws": draws,
            "max_draws": draws,
            "method": "exact",
        }
    )
    session = Session(config.model_copy(update={"scan": scan}), folder)
    made = Made.stored(folder, ["topology", "features", "probe"])
    with tempfile.TemporaryDirectory() as scratch:
        return run_scanner(session, made).scan(Journal(Path(scratch) / "journal"))


def _cell(agreement: Agreement) -> str:
    if agreement.rho is None:
        return "no variation"
    return f"{agreement.rho:.2f} [{agreement.low:.2f}, {agreement.high:.2f}]"


if __name__ == "__main__":
    main()
