"""Checking: one check in its folder, step by step: look at everything, ask every model, write the report.

Every model's evaluation is an artifact of the folder, as a run's is, so that the report and the gate are a run's, and a
kill loses no finished evaluation.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from securetune.base.artifacts import Artifact, Journal, Product
from securetune.base.fingerprint import fingerprint
from securetune.base.typed import from_json, to_json
from securetune.config import dump_config
from securetune.data.examples import load_source
from securetune.data.prompts import Example, PromptSet
from securetune.data.rendering import check_rows, check_template
from securetune.defences.base.arm import BASE
from securetune.doors.check import CheckConfig
from securetune.errors import ConfigError, ModelError
from securetune.evaluate.judging import judges_of, try_judges
from securetune.evaluate.preflight import prompt_notes, row_faults, template_faults, template_notes
from securetune.evaluate.rendered import check_analysis, check_benchmark, room_faults
from securetune.evaluate.result import Assessment, Evaluation
from securetune.evaluate.task import Task
from securetune.flow.asking import Asking
from securetune.flow.stages.evaluate import product, stage
from securetune.models.config import ModelConfig
from securetune.models.counterpart import differences
from securetune.models.given import GivenConfig
from securetune.models.loading import load_given, load_skeleton
from securetune.models.openings import Openings, learn_openings
from securetune.models.template import renders_alike, stored_template
from securetune.report.allowed import budgets_digest, keep_budgets
from securetune.report.files import write_report
from securetune.report.gate import Budgets
from securetune.report.intact import GIVEN, config_digest
from securetune.report.reading import read_run
from securetune.report.sections import sections_digest

log = logging.getLogger(__name__)
Evaluate = Callable[[GivenConfig | None, Assessment | None], Evaluation]


class Checking(Asking):
    """One check in its folder."""

    config: CheckConfig
    _made: Sequence[Artifact] = ()

    def check(self) -> None:
        """Look at everything that needs no weights, so that a mistake shows before hours of work.

        Raises:
            SecuretuneError: the first thing that cannot be used.
        """
        self.check_names()
        try_judges(self.config.evaluate)
        self.check_rendering(self.config.model, self.tokenizer, self.prompts)
        self.check_tuned(self.config.tuned.values())

    def check_names(self) -> None:
        """Make sure that every model's evaluation has a file of its own.

        Raises:
            ConfigError: two of them share one.
        """
        names = [BASE, *self.config.tuned]
        files = {self.folder.file("evaluate", name): name for name in names}
        if len(files) < len(names):
            raise ConfigError(f"Expected names that make distinct files, found {names}. Rename one of the models.")

    def check_rendering(
        self, model: ModelConfig, tokenizer: PreTrainedTokenizerBase, analysis: PromptSet | None = None
    ) -> None:
        """Make sure that a model's template shows what is asked, and that it has room for it.

        Args:
            model: the model.
            tokenizer: its tokenizer.
            analysis: prompts that its openings are read off; none where they are not.

        Raises:
            SecuretuneError: a prompt, or a row of the task, cannot be put to it.
        """
        config, template = self.config.evaluate, check_template(tokenizer)
        prompts = [] if analysis is None else check_analysis(tokenizer, analysis)
        prompts += [check_benchmark(tokenizer, benchmark, config, [config.system]) for benchmark in self.benchmarks]
        notes = [*template_notes(template), *(note for found in prompts for note in prompt_notes(found))]
        faults, longest = template_faults(template), {}
        if (task := self.config.task) is not None:
            rows = check_rows(tokenizer, "task", self.rows, max_length=task.max_length, field="task.max_length")
            faults += row_faults([rows])
            longest[rows.source] = min(rows.longest, task.max_length)
            if beyond := rows.dropped + rows.cut:
                notes.append(
                    f"{beyond:,} of {rows.used:,} rows of the task are longer than {task.max_length} tokens "
                    "(task.max_length): the loss is of what is left of them."
                )
        faults += room_faults(load_skeleton(model).config, longest, prompts, config.max_new_tokens)
        if faults:
            raise ConfigError(
                f"Expected prompts that can be put to {model.path!r}, found: {'; '.join(faults)}. Correct that, or its "
                "template."
            )
        for note in notes:
            log.warning("%s", note)

    def check_tuned(self, tuned: Iterable[GivenConfig]) -> None:
        """Make sure that models are tuned from the one before tuning, and tell of templates of their own.

        Raises:
            ModelError: one has another vocabulary, or weights of another shape.
        """
        for given in tuned:
            for note in self._template_notes(given):
                log.warning("%s", note)
            self._check_counterpart(given)

    def _template_notes(self, given: GivenConfig) -> list[str]:
        """Whether a tuned model brings a template that puts a prompt otherwise."""
        template = stored_template(given.path)
        if template is None or renders_alike(self.tokenizer, template, self.config.model.chat_template_kwargs):
            return []
        return [
            f"{given.path} has another chat template than {self.config.model.path}, through which both are asked: if "
            "it was tuned and is used with its own, its answers here are not those that it gives there."
        ]

    def _check_counterpart(self, given: GivenConfig) -> None:
        """Make sure that a whole model has the vocabulary and the weights of the model before tuning."""
        own = given.as_model(self.config.model)
        found = differences(self.config.model, own) if given.adapter is None else []
        if found:
            raise ModelError(
                f"Expected {given.path!r} to be tuned from {self.config.model.path!r}, found another model: "
                f"{'; '.join(found)}. Give the model that it was tuned from."
            )

    def measure(self) -> None:
        """Every artifact that is not there yet, but the report."""
        self.folder.configure(dump_config(self.config))
        features = self._features()
        openings = from_json(Openings, features.data["openings"], features.title)
        self._made = [features, *self.evaluations(openings, partial(self._evaluation, openings=openings))]

    def evaluations(self, openings: Openings | None, evaluate: Evaluate) -> list[Artifact]:
        """The evaluation of every model, the one before tuning first.

        Args:
            openings: first tokens of refusals and compliance; None where no model is looked into.
            evaluate: asks a tuned model, or for None the model before tuning, and compares it with what that one said.
        """
        made: list[Artifact] = []
        for name in (BASE, *self.config.tuned):
            made.append(self._evaluated(name, made, openings, evaluate))
        return made

    @cached_property
    def rows(self) -> list[Example]:
        """Rows of the task; none where there is no task."""
        task = self.config.task
        if task is None:
            return []
        source = load_source(task.rows, seed=self.config.seed, shuffled=False, folder=self.folder.path)
        for note in source.notes:
            log.warning("%s", note)
        return list(source.rows)

    def _features(self) -> Artifact:
        inputs = {
            "model": self.model_fingerprint,
            "prompts": fingerprint(self.config.analysis),
            "seed": str(self.config.seed),
        }

        def compute() -> Product:
            malicious, benign = ([p.text for p in side] for side in (self.prompts.malicious, self.prompts.benign))
            openings = learn_openings(
                self.base_model(), self.tokenizer, malicious, benign, batch_size=self.config.evaluate.batch_size
            )
            return Product(data={"malicious": len(malicious), "benign": len(benign), "openings": to_json(openings)})

        return self.folder.produce("features", inputs, compute, seed=self.config.seed)

    def _evaluated(
        self, name: str, made: Sequence[Artifact], openings: Openings | None, evaluate: Evaluate
    ) -> Artifact:
        settings, given = self.config.evaluate, self.config.tuned.get(name)
        inputs = {
            "model": self.model_fingerprint,
            "benchmarks": fingerprint(self.benchmarks),
            "openings": fingerprint(openings),
            "task": fingerprint(self.config.task),
            "evaluate": fingerprint(settings, without=["judge"]),
            "judges": fingerprint(list(judges_of(settings).values())),
            "seed": str(self.config.seed),
        }
        if given is not None:
            inputs |= {GIVEN: fingerprint(given), "base": made[0].digest}

        def compute() -> Product:
            before = None
            if given is not None:
                before = self.assessed_before(from_json(Evaluation, made[0].data, made[0].title))
            return product(evaluate(given, before), self.folder.file("evaluate", name, ".answers.json"))

        return self.folder.produce(
            "evaluate", inputs, compute, version=stage.version, variant=name, seed=self.config.seed
        )

    def _evaluation(self, given: GivenConfig | None, before: Assessment | None, *, openings: Openings) -> Evaluation:
        task = self.config.task
        return self.evaluation(
            lambda: self.base_model() if given is None else self.tuned_model(given),
            None if task is None else Task(rows=self.rows, metric=task.metric, max_length=task.max_length),
            self.config.evaluate,
            openings=openings,
            before=before,
            known=self.known_of(given),
        )

    def known_of(self, given: GivenConfig | None) -> Journal:
        """Answers of a tuned model that are there already, or for None of the one before tuning."""
        return self.known_answers(BASE if given is None else fingerprint(given))

    def tuned_model(self, given: GivenConfig) -> PreTrainedModel | PeftModel:
        """A tuned model, in the place of the one before tuning."""
        self._base = None  # there may be no room for both
        return load_given(given, self.config.model)

    def report(self, budgets: Budgets) -> None:
        """The page of all that was measured, by these budgets."""
        keep_budgets(self.folder, budgets)
        inputs = {f"{a.stage}-{a.variant}" if a.variant else a.stage: a.digest for a in self._made}
        inputs |= {
            "config": config_digest(dump_config(self.config)),
            "budgets": budgets_digest(self.folder),
            "sections": sections_digest(),
        }

        def compute() -> Product:
            files = write_report(read_run(self.folder))
            return Product(data={"html": files[0].name}, files=files)

        self.folder.produce("report", inputs, compute, seed=self.config.seed)
