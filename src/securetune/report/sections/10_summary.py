"""Summary: is it safe to ship, what was compared, and what happened? One screen, the verdict first."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from securetune.defences.base.arm import BASE, PLAIN
from securetune.evaluate.result import EvalResult
from securetune.measures.kinds import BENIGN, HARMFUL, SKILL, Kind
from securetune.measures.statistics import Estimate
from securetune.report.allowed import kept_budgets
from securetune.report.change import Change, changes, of_kind, worst
from securetune.report.gate import Budgets, passes
from securetune.report.heading import Fact, heading
from securetune.report.outcome import Outcome, outcomes
from securetune.report.reading import Model, Run
from securetune.report.sections.base.section import Section, Table
from securetune.report.verdict import protagonists, verdict

QUESTIONS: tuple[tuple[Kind | None, str], ...] = (
    (HARMFUL, "Harmful requests answered"),
    (BENIGN, "Harmless requests refused"),
    (SKILL, "Questions answered right"),
    (None, "Broken answers"),
)
"""What is asked first of every run, and on which kind of sets; None on all of them."""
_LINES = 8
"""Models whose verdict is seen at once; more stand behind a click."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model's numbers on a card."""

    model: str
    place: int
    """In the run, which fixes its colour."""
    value: str
    """The mean over all sets; of a single one, its rate."""
    notes: list[str]
    """The worst set with its interval and n, and where it got worse."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One question with the answers of the models that matter most."""

    title: str
    on: str | None
    """Of what the numbers are."""
    entries: list[Entry]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The first screen."""

    first: list[Outcome]
    rest: list[Outcome]
    """More than a screen holds."""
    allowed: str
    """The budgets in words."""
    todo: str
    facts: list[Fact]
    verdict: str
    cards: list[Card]
    checks: Table
    is_check: bool


def data(run: Run) -> Summary:
    """The gate's word on every arm, a card for every kind of set that there is, and the task's."""
    budgets = kept_budgets(run.folder)
    told = outcomes(run, budgets)
    models = protagonists(run.models)
    cards = [_card(run, models, kind, title) for kind, title in QUESTIONS if kind is None or models[0].of_kind(kind)]
    cards += [_task(run, models)] if models[0].has_task else []
    return Summary(
        first=told[:_LINES],
        rest=told[_LINES:],
        allowed=_allowed(budgets, models[0]),
        todo=_todo([outcome for outcome in told if outcome.is_held] or told, is_check=run.is_check),
        facts=heading(run),
        verdict=verdict(run.models) if models[0].of_kind(HARMFUL) else "",
        cards=cards,
        checks=_checks(told, budgets),
        is_check=run.is_check,
    )


def _allowed(budgets: Budgets, base: Model) -> str:
    limits = {
        "attack success rate": (budgets.asr_rise, "points"),
        "over-refusal": (budgets.over_refusal_rise, "points"),
        "share not right": (budgets.skill_fall if base.of_kind(SKILL) else None, "points"),
        "broken answers": (budgets.broken_rise, "points"),
        "task loss": (budgets.task_loss_rise if base.has_task else None, "%"),
    }
    told = ", ".join(f"{what} {100 * rise:g} {unit}" for what, (rise, unit) in limits.items() if rise is not None)
    judge = "" if budgets.judge is None else f" Judge: {budgets.judge}."
    passed = " An unclear check passes." if budgets.unclear == "pass" else ""
    return f"Allowed rise: {told or 'nothing is looked at'}.{judge}{passed}"


def _todo(told: Sequence[Outcome], *, is_check: bool) -> str:
    """What to do next, by what the gate says of the arms that it looks at."""
    by_word = {word: [one.title for one in told if one.word == word] for word in ("safe to ship", "unclear")}
    if by_word["safe to ship"]:
        names = _listed(by_word["safe to ship"])
        return f"Ship {names}, and let the gate check every later tuning run in CI with the same budgets."
    if by_word["unclear"]:
        return (
            f"Do not ship yet: nobody can tell whether {_listed(by_word['unclear'])} kept what it should. Where "
            "prompts are too few, add some to the sets that are named; where the model before tuning had nothing to "
            "keep, take one that refuses and answers."
        )
    if all(check.what == "task loss" for one in told for check in one.checks if check.finding == "beyond"):
        return "Do not ship: it did not learn the task as it should. Let it train longer or raise its rate, and repeat."
    if is_check and len(told) == 1:  # a repair's page has several
        return "Do not ship. Mend it (securetune repair) or tune with a defence (securetune tune), and measure again."
    again = "tune again with a defence" if is_check else "try rows with safe answers (SafeInstr, replay, SafeGrad)"
    return f"Do not ship. Try a lower learning rate or fewer steps, or {again}, and measure again."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {', '.join(names[:_LINES])}" + ("…" if names[_LINES:] else "")


def _checks(told: Sequence[Outcome], budgets: Budgets) -> Table:
    """Every number of the gate."""
    head = ["model", "verdict", "what", "on", "before", "after", "change", "allowed", "n"]
    rows: list[list[object]] = []
    for outcome in told:
        for check in outcome.checks:
            unjudged = f" and {check.unjudged} without a verdict" if check.unjudged else ""
            rows.append(
                [
                    outcome.title,
                    check.finding + (" (passes)" if check.finding == "unclear" and passes(check, budgets) else ""),
                    check.what,
                    check.on,
                    *check.levels,
                    check.change,
                    f"{100 * check.budget:.1f} {check.unit}",
                    "–" if check.n is None else f"{check.n}{unjudged}",
                ]
            )
    return Table(label="Every check of the gate", head=head, rows=rows)


def _card(run: Run, models: Sequence[Model], kind: Kind | None, title: str) -> Card:
    """Every model's mean over the sets, its worst set, and where it rose."""
    sets = models[0].benchmarks if kind is None else models[0].of_kind(kind)
    entries = [_entry(run, model, kind) for model in models]
    return Card(title=title, on=f"mean of {len(sets)} sets" if len(sets) > 1 else sets[0].benchmark, entries=entries)


def _entry(run: Run, model: Model, kind: Kind | None) -> Entry:
    sets = model.benchmarks if kind is None else model.of_kind(kind)
    rates = {one.benchmark: _rate(one, kind) for one in sets}
    where = max(rates, key=lambda name: rates[name].value if kind is None else -kind.goodness(rates[name].value))
    notes = [_reach(rates[where])]
    if len(sets) > 1:
        notes = [f"worst: {100 * rates[where].value:.1f} % on {where} ({notes[0]})"]
    if model.arm != BASE:
        notes.append(_risen(of_kind(changes(run.models, model), kind)))
    mean = statistics.fmean(rate.value for rate in rates.values())
    return Entry(model=_name(model), place=run.models.index(model), value=f"{100 * mean:.1f} %", notes=notes)


def _rate(result: EvalResult, kind: Kind | None) -> Estimate:
    return result.broken if kind is None else result.rate


def _reach(rate: Estimate) -> str:
    return f"{100 * rate.low:.1f} to {100 * rate.high:.1f}, n = {rate.n}"


def _risen(group: Sequence[Change]) -> str:
    """By how much it got worse, and on how many sets by ten points or more."""
    most = worst(group)
    if len(group) == 1:
        return f"{_changed(most.harm)} [{_points(most.harm.low)}, {_points(most.harm.high)}]"
    number = sum(change.is_harm for change in group)
    on = f"{number} of {len(group)}" if number else "none"
    return f"worse by ten points or more on {on}; at worst, on {most.on}, {_changed(most.harm)}"


def _changed(harm: Estimate) -> str:
    """A change in words; what is above 0 is worse."""
    size = round(100 * abs(harm.value), 1)
    return "no change" if not size else f"{size:.1f} points {'worse' if harm.value > 0 else 'better'}"


def _points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}"  # no minus before a zero


def _task(run: Run, models: Sequence[Model]) -> Card:
    title = "The task: right answers" if models[0].score else "The task: loss (lower is better)"
    return Card(title=title, on=None, entries=[_of_task(run, model) for model in models])


def _of_task(run: Run, model: Model) -> Entry:
    score, place = model.score, run.models.index(model)
    if score is None:
        return Entry(model=_name(model), place=place, value=f"{model.loss:.3f}", notes=[])
    return Entry(model=_name(model), place=place, value=f"{100 * score.value:.1f} %", notes=[_reach(score)])


def _name(model: Model) -> str:
    return "plain tuning" if model.arm == PLAIN else model.title


section = Section(title=None, anchor="summary", data=data)
