"""Write the per-module learning-rate plan of every defence."""

import functools

from securetune.base.artifacts import Product, installed_versions
from securetune.defences.base.interface import PlanInputs
from securetune.defences.base.needs import PLAIN_RUN
from securetune.flow.analysis import analysed
from securetune.flow.pricing import module_prices, price_inputs
from securetune.flow.scanning import search_problem
from securetune.flow.session import Session
from securetune.flow.stages.base.stage import Inputs, Stage, Work
from securetune.measures.stability import sentences
from securetune.models.topology import ModuleSet
from securetune.plans.plan import PlanModel
from securetune.search import SEARCHES


def depends(work: Work) -> Inputs | None:
    """The defences and what they read of the analysis; an arm has no plan where none of them decides the rates."""
    session, made, combination = work.session, work.made, work.session.combination(work.arm)
    if not combination.has_plan:
        return None
    localised = ("scan", "search") if combination.reads_scan else ("features",)
    return {
        "topology": made.digest("topology"),
        "defences": combination.fingerprint(),
        "seed": str(session.config.seed),
        **(price_inputs(session, made) if PLAIN_RUN in combination.needs else {}),
        **{stage: made.digest(stage) for stage in localised},
    }


def compute(work: Work) -> Product:
    """The plan, with where it came from."""
    session, made = work.session, work.made
    config, topology = session.config, made.artifact("topology").data
    combination = session.combination(work.arm)
    is_scanned = combination.reads_scan

    def search(name: str, size: int) -> ModuleSet:
        robust: ModuleSet = SEARCHES.get(name)(search_problem(session, made, _unscored, size=size))
        return robust

    inputs = PlanInputs(
        model=PlanModel(
            id=config.model.path,
            revision=config.model.revision,
            fingerprint=topology["fingerprint"],
            tokenizer=topology["tokenizer"],
        ),
        topology=made.topology,
        robust=ModuleSet.parse(made.search.robust if is_scanned else ()),
        search=search,
        analysed=functools.partial(analysed, session, made.openings),
        prices=functools.partial(module_prices, session, made),
        scores=made.scan.mean(config.scan.signal) if is_scanned else {},
        signal=config.scan.signal,
        seed=config.seed,
        versions=installed_versions(),
    )
    plan = combination.edit_plan(inputs)
    if is_scanned:
        plan = plan.model_copy(update={"notes": (*made.search.cautions, *sentences(made.search.stability))})
    return Product(data=plan.model_dump())


def _unscored(modules: ModuleSet) -> float:
    raise AssertionError(f"baseline searches measure nothing, asked for {modules.names()}")


def arms(session: Session) -> list[str]:
    """Every arm."""
    return session.arms


stage = Stage(version=7, depends=depends, compute=compute, arms=arms)
