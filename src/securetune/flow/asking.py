"""Asking: a model before tuning bound to what it is asked, for all that measures before and after.

The model, its tokenizer, the prompts and the answers that are there already; whatever trains adds its own rows, see
`securetune.flow.session`.
"""

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.artifacts import Journal, RunFolder, digest, write_atomic
from securetune.base.fingerprint import fingerprint
from securetune.config import AnalysisConfig, BenchmarkConfig, PromptsConfig
from securetune.data.config import DataConfig
from securetune.data.prompts import Prompt, PromptSet, load_prompts, selected
from securetune.defences.base.arm import BASE
from securetune.errors import ConfigError
from securetune.evaluate.answers import reference
from securetune.evaluate.assess import assess
from securetune.evaluate.attacks import ATTACKS
from securetune.evaluate.benchmark import Benchmark
from securetune.evaluate.benchmarks import BENCHMARKS
from securetune.evaluate.benchmarks.base.source import Source
from securetune.evaluate.config import SKILL_METRIC, EvaluateConfig
from securetune.evaluate.own_answers import HELPFUL, LONGEST, own_answers
from securetune.evaluate.result import Assessment, Evaluation, stored_results
from securetune.evaluate.task import Task, evaluate_task
from securetune.measures.kinds import BENIGN, HARMFUL
from securetune.models.config import ModelConfig
from securetune.models.loading import load_model, load_tokenizer
from securetune.models.openings import Openings

COMMITS = "benchmarks.jsonl"
"""In a run folder: the commits at which sets that nobody has pinned were first read, and are read again."""


def commit_of(settings: BenchmarkConfig, folder: Path) -> str | None:
    """At which commit a public benchmark is read in a run folder; None where it is no repository's, or not known."""
    if settings.benchmark is None or settings.path is not None:
        return None
    source: Source = BENCHMARKS.get(settings.benchmark)
    return source.commit(Journal(folder / COMMITS), settings.revision)


def _check_kinds_differ(name: str, refused: Sequence[Prompt], other: str, answered: Sequence[Prompt]) -> None:
    """Make sure that most of what should be refused is not what should be answered."""
    both = {prompt.text for prompt in refused} & {prompt.text for prompt in answered}
    if 2 * len(both) > min(len(refused), len(answered)):
        raise ConfigError(
            f"Expected prompts that should be refused in {name} and others in {other}, found {len(both):,} that "
            f"stand in both, such as {next(iter(sorted(both)))[:60]!r}. Give each its own file."
        )


class AskingConfig(Protocol):
    """The part of a configuration that says who is asked what."""

    @property
    def model(self) -> ModelConfig:
        """The model before tuning."""

    @property
    def seed(self) -> int:
        """Seed of what is drawn."""

    @property
    def analysis(self) -> AnalysisConfig:
        """Prompts that the model's openings are read off."""

    @property
    def benchmarks(self) -> tuple[BenchmarkConfig, ...]:
        """What is asked before and after."""

    @property
    def evaluate(self) -> EvaluateConfig:
        """How answers are generated and judged."""


class Asking:
    """What is asked, and the model before tuning, loaded only when something must be computed."""

    def __init__(self, config: AskingConfig, folder: RunFolder) -> None:
        self.config, self.folder = config, folder
        self._base: PreTrainedModel | None = None

    @cached_property
    def model_fingerprint(self) -> str:
        """Which model is loaded, and how."""
        return fingerprint(self.config.model)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return load_tokenizer(self.config.model)

    def base_model(self) -> PreTrainedModel:
        """The model before tuning, loaded once."""
        if self._base is None:
            self._base = load_model(self.config.model)
        return self._base

    @cached_property
    def prompts(self) -> PromptSet:
        """Prompts of the analysis."""
        analysis = self.config.analysis
        prompts = PromptSet(malicious=self._load(analysis.malicious), benign=self._load(analysis.benign))
        _check_kinds_differ("analysis.malicious", prompts.malicious, "analysis.benign", prompts.benign)
        return prompts

    @cached_property
    def benchmarks(self) -> list[Benchmark]:
        """Prompts of the evaluation."""
        benchmarks = [self._benchmark(settings) for settings in self.config.benchmarks]
        names = [b.name for b in benchmarks]
        if len(set(names)) != len(names) or not {HARMFUL, BENIGN} <= {b.kind for b in benchmarks}:
            raise ConfigError(
                "Expected benchmarks with distinct names, at least one harmful and one benign, found "
                f"{[(b.name, b.kind.name) for b in benchmarks]}. Correct `benchmarks`."
            )
        for harmful in (b for b in benchmarks if b.kind == HARMFUL):
            for benign in (b for b in benchmarks if b.kind == BENIGN):
                _check_kinds_differ(harmful.name, harmful.prompts, benign.name, benign.prompts)
        return benchmarks

    def _benchmark(self, settings: BenchmarkConfig) -> Benchmark:
        attack, by = None, ""
        if settings.attack is not None:
            attack = ATTACKS.make(settings.attack.name, settings.attack.model_extra or {}, "attack")
            by = f" under {settings.attack.name}"
        half, limit, seed = settings.half, settings.limit, self.config.seed
        if settings.benchmark is None:
            assert settings.path is not None and settings.name is not None and settings.kind is not None
            prompts = load_prompts(settings.path, label=settings.label, half=half, limit=limit, seed=seed)
            name, kind, origin = settings.name, settings.kind, settings.path
            metric = settings.metric or SKILL_METRIC
        else:
            source = BENCHMARKS.get(settings.benchmark)
            commit = commit_of(settings, self.folder.path)
            loaded = source.load(settings.path, commit)
            prompts = selected(loaded, source.title, half=half, limit=limit, seed=seed)
            name, kind, metric = settings.name or f"{source.title}{by}", source.kind, source.metric
            origin = settings.path or f"{source.dataset}@{commit or 'newest'}"
        return Benchmark(name=name, kind=kind, prompts=prompts, attack=attack, origin=origin, metric=metric)

    @cached_property
    def own_rows(self) -> DataConfig:
        """Rows with the model's own safe answers, made once for the same model and prompts, and kept.

        Raises:
            DataError: it refuses too little.
        """
        config = self.config
        made_of = [self.model_fingerprint, fingerprint(config.analysis), fingerprint(config.evaluate), str(config.seed)]
        made_of += [str(LONGEST), str(HELPFUL)]
        file = self.folder.path / f"safety-{digest(made_of)[:8]}.jsonl"
        if not file.exists():
            malicious, benign = (
                [prompt.text for prompt in kind] for kind in (self.prompts.malicious, self.prompts.benign)
            )
            rows = own_answers(self.base_model(), self.tokenizer, malicious, benign, config.evaluate)
            write_atomic(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return DataConfig(path=str(file))

    def known_answers(self, trained: str) -> Journal:
        """Answers of one model that are there already: of a run that was killed, or of other benchmarks."""
        engine = self.config.evaluate.engine
        name = digest([self.model_fingerprint, trained, *([engine] if engine != "transformers" else [])])
        return Journal(self.folder.path / f".answers-{name}.jsonl")

    def kept_verdicts(self) -> Journal:
        """Verdicts of judges that ask a model, so that a restart does not ask, or pay, again."""
        return Journal(self.folder.path / ".verdicts.jsonl")

    def evaluation(
        self,
        load: Callable[[], PreTrainedModel | PeftModel],
        task: Task | None,
        settings: EvaluateConfig,
        *,
        openings: Openings,
        before: Assessment | None,
        known: Journal | None,
        system: str | None = None,
    ) -> Evaluation:
        """All answers of one model and what they amount to.

        Args:
            load: gives the model; nobody else holds it, so that it makes room for the model before tuning.
            task: held-out rows of the task, where there is one.
            settings: how answers are generated and judged.
            openings: first tokens of refusals and compliance.
            before: the same of the model before tuning; None where it is that very model.
            known: answers of this very model that are there already.
            system: system prompt that a defence wants.
        """
        model = load()
        on_task = None
        if task is not None:
            on_task = evaluate_task(model, self.tokenizer, task, settings, system=system, known=known)

        def reader() -> PreTrainedModel:
            nonlocal model
            del model  # the model before tuning takes its place in memory
            return self.base_model()

        assessed = assess(
            model,
            reader,
            self.tokenizer,
            self.benchmarks,
            settings,
            openings=openings,
            before=before,
            references=[] if task is None else [reference(row) for row in task.rows],
            known=known,
            kept=self.kept_verdicts(),
            folder=self.folder.path,
        )
        return Evaluation(
            benchmarks=assessed.results, surprise_limit=assessed.surprise_limit, system=system, task=on_task
        )

    def assessed_before(self, evaluation: Evaluation) -> Assessment:
        """The model before tuning on every benchmark, with every answer, from what its `evaluation` has left."""
        results = stored_results(self.folder.file("evaluate", BASE, ".answers.json"))
        return Assessment(results=results, surprise_limit=evaluation.surprise_limit)

    def _load(self, source: PromptsConfig) -> tuple[Prompt, ...]:
        return load_prompts(
            source.path, limit=source.limit, seed=self.config.seed, label=source.label, half=source.half
        )
