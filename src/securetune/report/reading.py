"""Reading: what did a run find? Its folder as named types, without a model, a defence or a GPU.

The models with their evaluations are read at once; everything else is read when it is asked for, so that a run that
has not got further than its evaluations can be compared and held against a gate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from securetune.base.artifacts import ANALYSIS, CONFIG, STAGES, RunFolder, digest_path
from securetune.base.typed import T, from_json
from securetune.config import RunConfig, parse_config, read_yaml
from securetune.defences.base.arm import BASE, PLAIN, Arm
from securetune.errors import ArtifactError
from securetune.evaluate.preflight import Preflight
from securetune.evaluate.result import EvalResult, Evaluation, stored_results
from securetune.measures.kinds import HARMFUL, Kind
from securetune.measures.loss_target import LossTarget
from securetune.measures.statistics import Estimate
from securetune.report.intact import check_belong, check_config, check_noted, check_reported, check_whole, is_of_given
from securetune.report.training import Cost as Cost
from securetune.report.training import Provenance as Provenance
from securetune.report.training import Training as Training
from securetune.scan.findings import ProbeFindings
from securetune.scan.result import ScanResult
from securetune.search.base.result import SearchResult
from securetune.train.result import TrainedArm


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model of a run: before tuning, tuned plainly, or by an arm's defences."""

    arm: str
    """`BASE`, `PLAIN`, or the arm as the run's artifacts name it."""
    training: Training | None
    """None for the model before tuning, and for one that was tuned elsewhere."""
    evaluation: Evaluation
    target: LossTarget | None = None
    """Plain tuning's task loss, which the others are held against; None where plain tuning was not evaluated."""
    answers_file: Path | None = None
    """Where its answers are stored."""
    answers_hash: str | None = None
    """Hash of that file as the evaluation left it; None where it was not noted."""
    is_mended: bool = False
    """Whether it was tuned elsewhere, and mended before it was asked."""

    @property
    def title(self) -> str:
        """What it is called in tables."""
        if self.arm == BASE:
            return "before tuning"
        return self.training.result.title if self.training else self.arm

    @property
    def is_given(self) -> bool:
        """Whether it was tuned elsewhere, and is only checked here."""
        return self.training is None and self.arm != BASE

    @property
    def is_held(self) -> bool:
        """Whether a gate holds it against its budgets where none is named."""
        return self.is_given or self.is_defence

    @property
    def is_defence(self) -> bool:
        """Whether it is meant to protect; the model before tuning, plain tuning and baselines are not."""
        return self.training is not None and self.training.result.is_defence

    @property
    def steps(self) -> int | None:
        """Optimizer steps."""
        return self.training.result.steps if self.training else None

    @property
    def loss(self) -> float:
        """Held-out task loss, in nats per answer token.

        Raises:
            ArtifactError: there was no task to look at.
        """
        if self.evaluation.task is None:
            raise ArtifactError(
                f"Expected rows of a task in the evaluation of {self.arm}, found none. Give them, and measure it again."
            )
        return self.evaluation.task.loss

    @property
    def has_task(self) -> bool:
        """Whether there was a task to look at."""
        return self.evaluation.task is not None

    @property
    def loss_ratio(self) -> float | None:
        """The same over plain tuning's; None for the model before tuning."""
        return self.loss / self.target.plain if self.training and self.target else None

    @property
    def matched(self) -> bool | None:
        """Whether its task loss counts as plain tuning's; None where there is nothing to match."""
        if self.target is None or self.arm in (BASE, PLAIN):
            return None
        return self.target.is_matched(self.loss)

    @property
    def score(self) -> Estimate | None:
        """Task metric, where the task has one."""
        return None if self.evaluation.task is None else self.evaluation.task.score

    @property
    def benchmarks(self) -> list[EvalResult]:
        """Every set it was asked, without the answers."""
        return self.evaluation.benchmarks

    def of_kind(self, kind: Kind) -> list[EvalResult]:
        """The sets of one kind."""
        return [benchmark for benchmark in self.benchmarks if benchmark.kind == kind]

    def headline(self, kind: Kind) -> Estimate:
        """First judge's rate on the first set of a kind."""
        return self.of_kind(kind)[0].rate

    def worst_rate(self, kind: Kind) -> Estimate:
        """First judge's rate on the set of a kind where it is worst."""
        return min((one.rate for one in self.of_kind(kind)), key=lambda rate: kind.goodness(rate.value))

    @property
    def worst_broken(self) -> Estimate:
        """Share of broken answers on the set where it is highest."""
        return max((one.broken for one in self.benchmarks), key=lambda broken: broken.value)

    @property
    def worst_asr(self) -> float:
        """First judge's attack success rate on the harmful set where it is highest."""
        return self.worst_rate(HARMFUL).value

    @cached_property
    def answers(self) -> list[EvalResult]:
        """Every set with its answers; the same sets and prompts in the same order for all models of a run.

        Raises:
            ArtifactError: they are not there any more, damaged, or not those that the numbers come from.
        """
        file = self.answers_file
        if file is None or not file.exists():
            raise ArtifactError(
                f"Expected the answers of {self.arm} in {file}, found no such file. Run `securetune evaluate` again."
            )
        if self.answers_hash is not None and digest_path(file) != self.answers_hash:
            raise ArtifactError(
                f"Expected answers in {file} as the evaluation left them (hash {self.answers_hash}), found others "
                f"(hash {digest_path(file)}). Delete the file and run `securetune evaluate` again."
            )
        return stored_results(file)

    def logged(self, name: str) -> list[tuple[float, float]]:
        """Step and value of one entry of the trainer's log, as often as it was written."""
        log = self.training.result.log if self.training else []
        return [(entry["step"], entry[name]) for entry in log if name in entry]


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The model that was tuned, in a line."""

    model_type: str
    layers: int
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run: its models, and what else it found.

    What the run has not done raises `ArtifactError` when it is asked for.
    """

    folder: RunFolder
    models: tuple[Model, ...]
    """Before tuning, tuned plainly, then the arms in the order of the configuration."""

    @property
    def is_check(self) -> bool:
        """Whether its models were tuned elsewhere, so that there is no plain tuning and no defence."""
        return any(model.is_given for model in self.models)

    @property
    def notes(self) -> list[str]:
        """What to know of how its models were asked, in sentences; each once."""
        told = dict.fromkeys(note for model in self.models for note in model.evaluation.notes)
        return [*_drawn(self.models[0]), *told]

    def find(self, arm: str) -> Model | None:
        """The model of an arm, or None where there is none."""
        return next((model for model in self.models if model.arm == arm), None)

    def has(self, stage: str) -> bool:
        """Whether there is a stage's result to show; what the run must do counts, so that its absence is an error."""
        may_be_left_out = self.is_check or (stage in ANALYSIS and self._scans_when_needed)
        if not may_be_left_out:
            return True
        notes = self.folder.ledger.read()
        noted = notes.artifacts.get(self.folder.file(stage).name)
        return noted is not None and noted.config == notes.config

    @cached_property
    def _scans_when_needed(self) -> bool:
        path = self.folder.path / CONFIG
        scan = read_yaml(path).get("scan") if path.exists() else None
        return isinstance(scan, dict) and scan.get("when") == "needed"

    def model(self, arm: str) -> Model:
        """The model of an arm.

        Raises:
            ArtifactError: the run has not evaluated it.
        """
        model = self.find(arm)
        if model is None:
            raise ArtifactError(
                f"Expected the run in {self.folder.path} to have done evaluate {arm}, found it has done "
                f"{sorted(model.arm for model in self.models)}. Finish it first with `securetune run`, or choose one "
                "of them."
            )
        return model

    def check_finished(self, arms: Sequence[str] = ()) -> None:
        """Check that every arm of the configuration is there, as the report shows it, and every file as it was left.

        Args:
            arms: which arms are enough; by default all.

        Raises:
            ArtifactError: one is missing, or something has changed since the report.
        """
        known = [model.arm for model in self.models]
        missing = [] if arms else [arm for arm in named_arms(self.folder) or () if arm not in known]
        check_reported(self.folder, {arm: self.folder.needed("evaluate", arm) for arm in known}, missing)
        if known:
            check_whole(self.folder, known)

    @cached_property
    def config_text(self) -> str:
        """The configuration as the run has written it."""
        path = self.folder.path / CONFIG
        if not path.exists():
            raise ArtifactError(f"Expected the run's configuration in {path}, found none. Run `securetune run` again.")
        return path.read_text(encoding="utf-8")

    @cached_property
    def config(self) -> RunConfig:
        """What was run."""
        path = self.folder.path / CONFIG
        return parse_config(read_yaml(path), str(path))

    @cached_property
    def topology(self) -> ModelShape:
        """The model that was tuned."""
        return self._result("topology", ModelShape)

    @cached_property
    def probe(self) -> ProbeFindings:
        """What can be said of the probe."""
        return self._result("probe", ProbeFindings)

    @cached_property
    def preflight(self) -> Preflight | None:
        """What was found before any work; None in the folder of a version that did not look."""
        return self._result("preflight", Preflight) if self.folder.read("preflight") is not None else None

    @cached_property
    def scan(self) -> ScanResult:
        """What was measured of every module."""
        return self._result("scan", ScanResult)

    @cached_property
    def search(self) -> SearchResult:
        """The robust set, and how it was found."""
        return self._result("search", SearchResult)

    def _result(self, stage: str, kind: type[T]) -> T:
        artifact = self.folder.needed(stage)
        check_noted(self.folder, artifact)
        return from_json(kind, artifact.data, str(self.folder.file(stage)))

    @cached_property
    def artifacts(self) -> list[Provenance]:
        """Where every artifact before the report comes from, in the order of the flow."""
        variants = (None, *(model.arm for model in self.models))
        stored = [
            self.folder.read(stage, variant) for stage in STAGES[: STAGES.index("report")] for variant in variants
        ]
        return [Provenance.of(artifact) for artifact in stored if artifact is not None]


def read_run(folder: RunFolder | str | Path, arms: Sequence[str] | None = None) -> Run:
    """Read a run's folder.

    Args:
        folder: where the run is.
        arms: which arms are wanted beside the model before tuning and plain tuning; by default those of the run's
            configuration that were evaluated.

    Raises:
        ArtifactError: there is no such folder, an arm that is named was not evaluated, an artifact has another form, or
            an artifact belongs to another run or an earlier configuration.
    """
    folder = _opened(folder)
    wanted = _evaluated(folder) if arms is None else [BASE, PLAIN]
    found = {arm: folder.read("evaluate", arm) for arm in wanted}
    stored = {arm: artifact for arm, artifact in found.items() if artifact is not None}
    stored |= {arm: folder.needed("evaluate", arm) for arm in (str(Arm.parse(arm)) for arm in arms or ())}
    evaluations = {
        arm: from_json(Evaluation, artifact.data, str(folder.file("evaluate", arm))) for arm, artifact in stored.items()
    }
    for artifact in stored.values():
        check_config(folder)
        check_noted(folder, artifact)
    check_belong(folder, stored)
    target = None
    if BASE in evaluations and PLAIN in evaluations:
        start, plain = (evaluations[arm].task for arm in (BASE, PLAIN))
        target = LossTarget(start=start.loss, plain=plain.loss) if start and plain else None
    models, mended = [], _mended_arms(folder)
    for arm, evaluation in evaluations.items():
        answers_file = folder.file("evaluate", arm, ".answers.json")
        models.append(
            Model(
                arm=arm,
                training=None if arm == BASE or is_of_given(stored[arm]) else _training(folder, arm),
                evaluation=evaluation,
                target=target,
                answers_file=answers_file,
                answers_hash=stored[arm].files.get(answers_file.name),
                is_mended=arm in mended,
            )
        )
    return Run(folder=folder, models=tuple(models))


def _drawn(model: Model) -> list[str]:
    """How its answers to harmful prompts were drawn, where they were."""
    told = {
        f"Every harmful prompt was answered {sampling.samples} times at temperature {sampling.temperature:g}, and "
        "counts where one of the answers helps."
        if sampling.samples > 1
        else f"Harmful prompts were answered at temperature {sampling.temperature:g}."
        for sampling in (benchmark.sampling for benchmark in model.benchmarks)
        if sampling.temperature
    }
    return sorted(told)


def _opened(folder: RunFolder | str | Path) -> RunFolder:
    if isinstance(folder, RunFolder):
        return folder
    if not Path(folder).is_dir():
        raise ArtifactError(f"Expected the folder of a finished run at {folder}, found none. Check the path.")
    return RunFolder(folder)


def _evaluated(folder: RunFolder) -> list[str]:
    """Before tuning, plain tuning, then the arms of the configuration in its order, as far as they were evaluated.

    What an earlier configuration has left counts for nothing; without a configuration, all that was evaluated counts.
    """
    variants, named = folder.variants("evaluate"), named_arms(folder)
    order = dict.fromkeys((BASE, PLAIN, *(variants if named is None else named)))
    return [arm for arm in order if arm in variants]


def named_arms(folder: RunFolder) -> list[str] | None:
    """The arms of the run's configuration, of a check the tuned models; None where there is no configuration."""
    path = folder.path / CONFIG
    if not path.exists():
        return None
    # Only names are wanted here: a configuration of another version must not keep a gate from reading its run.
    raw = read_yaml(path)
    if isinstance(given := raw.get("tuned"), dict):
        return list(given)
    names = raw.get("arms", [])
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ArtifactError(f"Expected `arms` in {path} to be a list of names, found {names!r}. Correct it.")
    return [str(Arm.parse(name)) for name in names]


def _mended_arms(folder: RunFolder) -> list[str]:
    """The tuned models of a repair that were mended before they were asked."""
    path = folder.path / CONFIG
    given = read_yaml(path).get("tuned") if path.exists() else None
    named = given.items() if isinstance(given, dict) else ()
    return [name for name, settings in named if isinstance(settings, dict) and settings.get("mend")]


def _training(folder: RunFolder, arm: str) -> Training:
    artifact, where = folder.needed("train", arm), str(folder.file("train", arm))
    return Training(
        result=from_json(TrainedArm, artifact.data, where),
        cost=from_json(Cost, artifact.cost, where) if artifact.cost else None,
        provenance=Provenance.of(artifact),
    )
