"""Checking: one check in its folder, step by step: look at everything, ask every model, write the report.

Every model's evaluation is an artifact of the folder, as a run's is, so that the report and the gate are a run's, and a
kill loses no finished evaluation.
"""

import logging
from collections.abc import Sequence
from functools import cached_property

from peft import PeftModel
from transformers import PreTrainedModel

from securetune.base.artifacts import Artifact, Product
from securetune.base.fingerprint import fingerprint
from securetune.base.typed import from_json, to_json
from securetune.config import dump_config
from securetune.data.examples import load_source
from securetune.data.prompts import Example
from securetune.data.rendering import check_rows, check_template
from securetune.defences.base.arm import BASE
from securetune.doors.check import CheckConfig
from securetune.errors import ConfigError, ModelError
from securetune.evaluate.judging import judges_of, try_judges
from securetune.evaluate.preflight import prompt_notes, row_faults, template_faults, template_notes
from securetune.evaluate.rendered import check_analysis, check_benchmark, room_faults
from securetune.evaluate.result import Evaluation
from securetune.evaluate.task import Task
from securetune.flow.asking import Asking
from securetune.flow.stages.evaluate import product, stage
from securetune.models.counterpart import differences
from securetune.models.given import GivenConfig, is_adapter
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


class Checking(Asking):
    """One check in its folder."""

    config: CheckConfig
    _made: Sequence[Artifact] = ()

    def check(self) -> None:
        """Look at everything that needs no weights, so that a mistake shows before hours of work.

        Raises:
            SecuretuneError: the first thing that cannot be used.
        """
        names = [BASE, *self.config.tuned]
        files = {self.folder.file("evaluate", name): name for name in names}
        if len(files) < len(names):
            raise ConfigError(f"Expected names that make distinct files, found {names}. Rename one of the models.")
        try_judges(self.config.evaluate)
        self._check_rendering()
        for given in self.config.tuned.values():
            self._check_counterpart(given)

    def _check_rendering(self) -> None:
        """Make sure that the template shows what is asked, and that the model has room for it."""
        config, tokenizer = self.config.evaluate, self.tokenizer
        template = check_template(tokenizer)
        prompts = check_analysis(tokenizer, self.prompts)
        prompts += [check_benchmark(tokenizer, benchmark, config, [config.system]) for benchmark in self.benchmarks]
        notes = [*template_notes(template), *(note for found in prompts for note in prompt_notes(found))]
        faults, longest = template_faults(template), {}
        if (task := self.config.task) is not None:
            rows = check_rows(tokenizer, "task", self.rows, max_length=task.max_length)
            faults += row_faults([rows])
            longest[rows.source] = min(rows.longest, task.max_length)
            if beyond := rows.dropped + rows.cut:
                notes.append(
                    f"{beyond:,} of {rows.used:,} rows of the task are longer than {task.max_length} tokens "
                    "(task.max_length): the loss is of what is left of them."
                )
        faults += room_faults(load_skeleton(self.config.model).config, longest, prompts, config.max_new_tokens)
        if faults:
            raise ConfigError(
                f"Expected prompts that can be put to {self.config.model.path!r}, found: {'; '.join(faults)}. Correct "
                "that, or its template."
            )
        notes += [note for given in self.config.tuned.values() for note in self._template_notes(given)]
        for note in notes:
            log.warning("%s", note)

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
        found = [] if is_adapter(given.path) else differences(self.config.model, given.as_model(self.config.model))
        if found:
            raise ModelError(
                f"Expected {given.path!r} to be tuned from {self.config.model.path!r}, found another model: "
                f"{'; '.join(found)}. Give the model that it was tuned from."
            )

    def measure(self) -> None:
        """Every artifact that is not there yet, but the report."""
        self.folder.configure(dump_config(self.config))
        openings = self._openings()
        made = [openings]
        for name in (BASE, *self.config.tuned):
            made.append(self._evaluated(name, made, from_json(Openings, openings.data["openings"], "features")))
        self._made = made

    @cached_property
    def rows(self) -> list[Example]:
        """Rows of the task; none where there is no task."""
        task = self.config.task
        if task is None:
            return []
        return list(load_source(task.rows, seed=self.config.seed, shuffled=False, folder=self.folder.path).rows)

    def _openings(self) -> Artifact:
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

    def _evaluated(self, name: str, made: list[Artifact], openings: Openings) -> Artifact:
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
        before = None if given is None else next(artifact for artifact in made if artifact.variant == BASE)
        if given is not None and before is not None:
            inputs |= {GIVEN: fingerprint(given), "base": before.digest}
        return self.folder.produce(
            "evaluate",
            inputs,
            lambda: product(
                self._evaluation(given, before, openings), self.folder.file("evaluate", name, ".answers.json")
            ),
            version=stage.version,
            variant=name,
            seed=self.config.seed,
        )

    def _evaluation(self, given: GivenConfig | None, before: Artifact | None, openings: Openings) -> Evaluation:
        task = self.config.task
        return self.evaluation(
            lambda: self.base_model() if given is None else self.tuned_model(given),
            None if task is None else Task(rows=self.rows, metric=task.metric, max_length=task.max_length),
            self.config.evaluate,
            openings=openings,
            before=None if before is None else self.assessed_before(from_json(Evaluation, before.data, before.title)),
            known=self.known_answers(BASE if given is None else fingerprint(given)),
        )

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
