"""Checking texts: a check of which a model, or every one, is behind an endpoint.

An endpoint gives text alone, and models are compared in what is known of all of them: no openings are read off the
model before tuning, it reads no answers, and nobody has a margin. A model that is here answers through its own chat
template, an endpoint's through the service's.
"""

from collections.abc import Iterator
from functools import cached_property

from securetune.base.artifacts import RunFolder
from securetune.config import dump_config
from securetune.doors.check import MARGIN, CheckConfig
from securetune.doors.checking import Checking
from securetune.evaluate.answers import Answer, generate_answers
from securetune.evaluate.assess import assess_texts
from securetune.evaluate.generation import Decoding
from securetune.evaluate.judging import try_judges
from securetune.evaluate.result import Assessment, Evaluation
from securetune.evaluate.served import Served, check_asked
from securetune.models.config import ModelConfig
from securetune.models.given import GivenConfig
from securetune.models.loading import load_given, load_model, load_tokenizer
from securetune.models.served import is_served


class TextChecking(Checking):
    """One check by what models say alone."""

    def __init__(self, config: CheckConfig, folder: RunFolder) -> None:
        judges = tuple(name for name in config.evaluate.judges if name != MARGIN)
        evaluate = config.evaluate.model_copy(update={"judges": judges})
        super().__init__(config.model_copy(update={"evaluate": evaluate}), folder)

    def check(self) -> None:
        """See `Checking.check`."""
        self.check_names()
        check_asked(self.benchmarks)
        try_judges(self.config.evaluate)
        for model in self._loaded():
            self.check_rendering(model, load_tokenizer(model))
        if not is_served(self.config.model.path):
            self.check_tuned(given for given in self.config.tuned.values() if not is_served(given.path))

    def measure(self) -> None:
        """See `Checking.measure`."""
        self.folder.configure(dump_config(self.config))
        self._made = self.evaluations(None, self._by_texts)

    def _loaded(self) -> Iterator[ModelConfig]:
        """The models that are here and bring a template: the one before tuning, else the tuned ones."""
        if not is_served(self.config.model.path):
            yield self.config.model
            return
        yield from (self._own(given) for given in self.config.tuned.values() if not is_served(given.path))

    def _own(self, given: GivenConfig | None) -> ModelConfig:
        """Whose tokenizer a model that is here is asked with."""
        model = self.config.model
        return given.as_model(model) if given is not None and is_served(model.path) else model

    def _by_texts(self, given: GivenConfig | None, before: Assessment | None) -> Evaluation:
        """One model by its answers; for None the one before tuning."""
        served = self._served(given)
        answers = self._generated(given) if served is None else [served.answers(b) for b in self.benchmarks]
        assessed = assess_texts(
            self.benchmarks,
            answers,
            self.config.evaluate,
            before=before,
            kept=self.kept_verdicts(),
            folder=self.folder.path,
        )
        notes = [self._note, *([] if served is None else self._silence(served))]
        return Evaluation(benchmarks=assessed.results, surprise_limit=None, system=None, task=None, notes=notes)

    def _served(self, given: GivenConfig | None) -> Served | None:
        """A model behind an endpoint, ready to be asked; None for one that is here."""
        path = self.config.model.path if given is None else given.path
        if not is_served(path):
            return None
        return Served(
            path=path,
            endpoint=self.config.endpoint,
            evaluate=self.config.evaluate,
            variables=self.config.model.chat_template_kwargs,
            known=self.known_of(given),
        )

    def _generated(self, given: GivenConfig | None) -> list[list[Answer]]:
        """The answers of a model that is here."""
        settings, tokenizer = self.config.evaluate, load_tokenizer(self._own(given))
        model = load_model(self.config.model) if given is None else load_given(given, self.config.model)
        known = self.known_of(given)
        return [
            generate_answers(
                model,
                tokenizer,
                benchmark.questions(tokenizer, settings, None),
                Decoding(
                    max_new_tokens=benchmark.max_new_tokens(settings),
                    batch_size=settings.batch_size,
                    temperature=benchmark.sampling(settings).temperature,
                    known=known,
                    description=benchmark.name,
                ),
            )
            for benchmark in self.benchmarks
        ]

    @cached_property
    def _note(self) -> str:
        """What cannot be known here."""
        paths = [self.config.model.path, *(given.path for given in self.config.tuned.values())]
        served = list(filter(is_served, paths))
        note = (
            f"Behind an endpoint, which gives text alone: {', '.join(served)}. So no model has refusal margins, "
            "refusal_margin does not judge, and what is no text is told by its form."
        )
        if len(served) < len(paths):
            note += (
                " A model that ran here was asked through its own chat template, one behind an endpoint through the "
                "service's: where they differ, that counts as tuning's."
            )
        return note

    def _silence(self, served: Served) -> list[str]:
        """How often an endpoint refused to answer."""
        silent = served.silent(self.benchmarks)
        if not silent:
            return []
        asked = sum(len(benchmark.prompts) for benchmark in self.benchmarks)
        return [
            f"The service refused to give any answer of {served.path} to {silent:,} of {asked:,} prompts: they count "
            "as empty ones."
        ]
