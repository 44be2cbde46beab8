"""Find the largest set of modules that is robust jointly."""

import functools

from securetune.base.artifacts import Artifact, Product
from securetune.base.fingerprint import fingerprint
from securetune.base.progress import progress_bar
from securetune.base.typed import from_json, to_json
from securetune.flow.scanning import run_scanner, scan_inputs, search_problem
from securetune.flow.stages.base.stage import Inputs, Stage, Work
from securetune.measures.stability import by_halves, is_chance, stability_sentence
from securetune.models.topology import ModuleSet
from securetune.report.terminal import print_caution, print_note
from securetune.scan.reliability import reliability, stability
from securetune.search import SEARCHES
from securetune.search.base.balance import cautions
from securetune.search.base.result import MeasuredSet, SearchResult


def depends(work: Work) -> Inputs:
    """The scan, all that its scanner reads, and how to search."""
    return {
        **scan_inputs(work.session, work.made),
        "scan": work.made.digest("scan"),
        "search": fingerprint(work.session.config.search),
        "method": SEARCHES.fingerprint(work.session.config.search.method),
    }


def compute(work: Work) -> Product:
    """The robust set, and every set that was measured on the way to it."""
    session, made = work.session, work.made
    config, signal = session.config.search, session.config.scan.signal
    joint_drops = run_scanner(session, made).joint_drops
    journal = session.journal("search", work.inputs)
    drops: dict[ModuleSet, dict[str, float]] = {}

    with progress_bar() as bar:
        task = bar.add_task("Search", total=len(made.scan.draws))

        def score(modules: ModuleSet) -> float:
            measure = functools.partial(joint_drops, modules, strength=made.scan.strength)
            drops[modules] = journal.once(",".join(modules.names()), measure)
            bar.advance(task)
            return drops[modules][signal]

        robust = SEARCHES.get(config.method)(search_problem(session, made, score))
        drop = score(robust)
    evaluated = [
        MeasuredSet(size=len(modules), drop=measured[signal], modules=modules.names(), drops=measured)
        for modules, measured in drops.items()
    ]
    return Product(
        data=to_json(
            SearchResult(
                robust=robust.names(),
                drop=drop,
                tolerance=config.tolerance,
                signal=signal,
                scores=made.scan.mean(signal),
                evaluated=evaluated,
                cautions=[
                    *([ranking.sentence] if (ranking := reliability(made.scan.draws, signal)).is_guess else []),
                    *cautions(robust, made.topology.all),
                ],
                stability=stability(made.scan.draws, signal, set(robust.names())),
            )
        )
    )


def show(artifact: Artifact) -> None:
    """What to know before relying on the robust set."""
    found = from_json(SearchResult, artifact.data, "search")
    for caution in found.cautions:
        print_caution(caution)
    for group in by_halves(found.stability):
        (print_caution if is_chance(group) else print_note)(stability_sentence(group))


stage = Stage(version=7, depends=depends, compute=compute, show=show)
