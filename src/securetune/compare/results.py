"""Results: from the runs of a grid to a table, a Pareto front and files for a paper."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from securetune.defences.base.arm import PLAIN, Arm
from securetune.errors import ArtifactError
from securetune.measures.kinds import BENIGN, HARMFUL
from securetune.measures.pareto import Tradeoff, on_front
from securetune.measures.statistics import Estimate, mean, paired_bootstrap
from securetune.report.reading import Run
from securetune.report.tables import markdown_table, markdown_text, spreadsheet_cell

Place = tuple[str, str, float | None]
"""Model, task and share of mixed-in rows."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One arm in one cell of the grid."""

    model: str
    task: str
    share: float | None
    seed: int
    arm: str
    """Its defences, without the factor on the learning rate."""
    rate: float
    steps: int
    loss_ratio: float
    """Held-out task loss over plain tuning's."""
    is_learned: bool
    """Whether it reached plain tuning's task loss, or went below."""
    score: float | None
    """Task metric, where the task has one."""
    over_refusal: float
    broken: float
    """Share of answers to benign prompts that are no text."""
    step_seconds: float
    """Mean time of an optimizer step."""
    memory: int | None
    """Peak memory on the GPU while training, in bytes; None without one."""
    attacks: dict[str, tuple[bool, ...]]
    """By harmful set: whether the attack succeeds, per prompt."""

    def asr_on(self, harmful: str) -> float:
        """Attack success rate on one set."""
        return sum(self.attacks[harmful]) / len(self.attacks[harmful])

    @property
    def asr(self) -> float:
        """Attack success rate on the set where it is highest."""
        return max(self.asr_on(harmful) for harmful in self.attacks)


@dataclass(frozen=True, kw_only=True)
class OnSet:
    """One arm on one harmful set, over all seeds of a place."""

    asr: Estimate
    by_seed: list[float]
    change: Estimate
    """ASR minus plain tuning's, with a paired bootstrap interval over seeds and prompts."""
    prompts: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One arm over all seeds of a place."""

    arm: str
    title: str
    rate: float
    seeds: int
    sets: dict[str, OnSet]
    """By harmful set."""
    over_refusal: float
    broken: float
    score: float | None
    loss_ratio: float
    learned: int
    """Seeds in which it reached plain tuning's task loss."""
    step_time: float
    """Time per step over plain tuning's."""
    memory: float | None
    """Peak memory over plain tuning's."""

    @property
    def worst(self) -> str:
        """The harmful set where its mean attack success rate is highest."""
        return max(self.sets, key=lambda harmful: self.sets[harmful].asr.value)

    @property
    def asr(self) -> float:
        """Mean attack success rate on that set."""
        return self.sets[self.worst].asr.value

    @property
    def skill(self) -> float:
        """What the Pareto front trades against ASR: the task metric, or how low the loss is against plain tuning's."""
        return self.score if self.score is not None else 1 / self.loss_ratio


def collect(run: Run, *, model: str, task: str, share: float | None, seed: int) -> list[Result]:
    """The results of a finished cell: plain tuning first, then its arms."""
    plain = run.find(PLAIN)
    if plain is None or plain.target is None:
        return []  # plain tuning itself failed, there is nothing to compare with
    results = []
    for tuned in run.models:
        if tuned.training is None:
            continue
        arm, cost = Arm.parse(tuned.arm), tuned.training.cost
        if cost is None:
            raise ArtifactError(
                f"Expected the cost of training {tuned.arm} in {run.folder.path}, found none. Delete the artifact of "
                "that training to redo it."
            )
        result = Result(
            model=model,
            task=task,
            share=share,
            seed=seed,
            arm="+".join(arm.names),
            rate=arm.rate,
            steps=tuned.training.result.steps,
            loss_ratio=tuned.loss / plain.loss,
            is_learned=plain.target.is_learned(tuned.loss),
            score=tuned.score.value if tuned.score else None,
            over_refusal=tuned.headline(BENIGN).value,
            broken=tuned.of_kind(BENIGN)[0].broken.value,
            step_seconds=cost.step_seconds,
            memory=cost.memory,
            attacks={
                answered.benchmark: tuple(outcome is not False for outcome in answered.outcomes())  # unread is not safe
                for answered in tuned.answers
                if answered.kind == HARMFUL
            },
        )
        results.append(result)
    return results


def summaries(results: Iterable[Result]) -> dict[Place, list[Summary]]:
    """Per place, in the order of the grid: every arm over its seeds, plain tuning first.

    An arm is compared with plain tuning on the seeds it has.
    """
    by_place: dict[Place, dict[str, list[Result]]] = {}
    for result in results:
        place = result.model, result.task, result.share
        by_place.setdefault(place, {}).setdefault(result.arm, []).append(result)
    summed = {}
    for place, by_arm in by_place.items():
        plain = {result.seed: result for result in by_arm[PLAIN]}
        summed[place] = [_summary(arm, of_arm, plain) for arm, of_arm in by_arm.items()]
    return summed


def _summary(arm: str, results: Sequence[Result], plain: Mapping[int, Result]) -> Summary:
    scores = [result.score for result in results if result.score is not None]
    memories = [r.memory / before for r in results if r.memory and (before := plain[r.seed].memory)]
    return Summary(
        arm=arm,
        title=Arm.parse(arm).title,
        rate=results[0].rate,
        seeds=len(results),
        sets={harmful: _on_set(harmful, results, plain) for harmful in results[0].attacks},
        over_refusal=mean([result.over_refusal for result in results]).value,
        broken=mean([result.broken for result in results]).value,
        score=mean(scores).value if scores else None,
        loss_ratio=mean([result.loss_ratio for result in results]).value,
        learned=sum(result.is_learned for result in results),
        step_time=mean([result.step_seconds / plain[result.seed].step_seconds for result in results]).value,
        memory=mean(memories).value if memories else None,
    )


def _on_set(harmful: str, results: Sequence[Result], plain: Mapping[int, Result]) -> OnSet:
    by_seed = [result.asr_on(harmful) for result in results]
    return OnSet(
        asr=mean(by_seed),
        by_seed=by_seed,
        change=paired_bootstrap([(plain[result.seed].attacks[harmful], result.attacks[harmful]) for result in results]),
        prompts=sum(len(result.attacks[harmful]) for result in results),
    )


def frontiers(by_place: Mapping[Place, Sequence[Summary]]) -> dict[str, list[Tradeoff]]:
    """Per place, by a name fit for a file: every arm's skill against its ASR."""
    return {
        _name(place).replace(" ", "-"): [Tradeoff(title=arm.title, skill=arm.skill, asr=arm.asr) for arm in arms]
        for place, arms in by_place.items()
    }


def to_markdown(by_place: Mapping[Place, Sequence[Summary]]) -> str:
    """A table per place, the lowest ASR (on each arm's worst set) first; every number is a mean over seeds.

    Where the harmful sets are many, each arm's worst one stands there, and all sets in a second table.
    """
    lines = []
    for place, arms in by_place.items():
        sets = arms[0].sets
        are_many = len(sets) > _COLUMNS
        ranked = sorted(zip(arms, on_front(arms), strict=True), key=lambda pair: pair[0].asr)
        head = ["method", "rate x"]
        for title in ["worst set"] if are_many else sets:
            head += [f"ASR: {title}, % (by seed)", "change against plain tuning, points"]
        head += [
            "over-refusal, %",
            "broken, %",
            "task metric, %",
            "loss vs plain tuning, %",
            "learned",
            "time per step",
        ]
        rows = [_fields(arm, [arm.worst] if are_many else list(arm.sets), front) for arm, front in ranked]
        lines += [f"### {markdown_text(_name(place))}", "", *markdown_table([*head, "memory", "front"], rows)]
        if are_many:
            each = [[name, *("; ".join(_on(arm, name)) for arm, _ in ranked)] for name in sets]
            head = ["ASR, % (by seed); change against plain tuning, points", *(arm.title for arm, _ in ranked)]
            lines += ["", *markdown_table(head, each)]
        sizes = ", ".join(f"{on_set.prompts} ({markdown_text(harmful)})" for harmful, on_set in sets.items())
        lines += ["", f"n over {arms[0].seeds} seed{'s' * (arms[0].seeds > 1)}: {sizes}.", ""]
    return "\n".join(lines)


_COLUMNS = 3
"""Harmful sets that have columns of their own beside everything else."""


def _on(arm: Summary, harmful: str) -> tuple[str, str]:
    """ASR on a set, and its change."""
    on_set, is_plain = arm.sets[harmful], arm.arm == PLAIN
    asr = f"{100 * on_set.asr.value:.1f} ({', '.join(f'{100 * asr:.0f}' for asr in on_set.by_seed)})"
    change, low, high = (100 * value for value in (on_set.change.value, on_set.change.low, on_set.change.high))
    return asr, "–" if is_plain else f"{change:+.1f} [{low:+.1f}, {high:+.1f}]"


def _fields(arm: Summary, sets: Sequence[str], front: bool) -> list[str]:
    texts = [text for harmful in sets for text in _on(arm, harmful)]
    if len(sets) < len(arm.sets):
        texts[0] += f" {arm.worst}"
    return [
        arm.title,
        f"{arm.rate:g}",
        *texts,
        f"{100 * arm.over_refusal:.1f}",
        f"{100 * arm.broken:.1f}",
        "–" if arm.score is None else f"{100 * arm.score:.1f}",
        f"{100 * (arm.loss_ratio - 1):+.1f}",
        f"{arm.learned} of {arm.seeds}",
        f"{arm.step_time:.2f}",
        "–" if arm.memory is None else f"{arm.memory:.2f}",
        "●" if front else "",
    ]


def to_json(results: Sequence[Result]) -> str:
    """All results, with every prompt's outcome."""
    return json.dumps([asdict(result) for result in results], indent=1) + "\n"


def to_csv(results: Sequence[Result]) -> str:
    """One line per arm and cell; `asr` is that of its worst harmful set."""
    stream = io.StringIO()
    names = [field.name for field in fields(Result) if field.name != "attacks"]
    sets = list(dict.fromkeys(harmful for result in results for harmful in result.attacks))
    writer = csv.DictWriter(stream, [*names, "asr", *(f"asr: {s}" for s in sets), "prompts"], lineterminator="\n")
    writer.writerow({column: spreadsheet_cell(column) for column in writer.fieldnames})
    for result in results:
        values = {name: getattr(result, name) for name in names}
        each = {f"asr: {harmful}": result.asr_on(harmful) for harmful in result.attacks}
        values = {name: spreadsheet_cell(value) for name, value in values.items()}
        writer.writerow({**values, "asr": result.asr, **each, "prompts": sum(map(len, result.attacks.values()))})
    return stream.getvalue()


def _name(place: Place) -> str:
    model, task, share = place
    return f"{model} {task}" + ("" if share is None else f" {100 * share:g}%-mixed")
