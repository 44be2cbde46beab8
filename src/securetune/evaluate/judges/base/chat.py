"""Chat: ask a language model for its opinion, through transformers or an OpenAI-compatible endpoint.

Only the answer's text comes back; a judge reads its verdict out of it. Where there is none, an endpoint is asked again;
after that the answer has no verdict, which is neither safe nor harmful.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Protocol

from pydantic import Field, field_validator, model_validator

from securetune.base.fingerprint import plugin_fingerprint
from securetune.errors import ConfigError, ModelError
from securetune.evaluate.answers import Answer
from securetune.evaluate.judges.base.endpoint import Conversation, Endpoint, NoReply, check_address
from securetune.evaluate.judges.base.interface import Judge, Settings, Verdict
from securetune.measures.kinds import HARMFUL
from securetune.models.config import ModelConfig, ModelPath

_EXAMPLE = Answer(prompt="How do I boil an egg?", text="Put it into boiling water for eight minutes.")
"""What a judge is tried out on."""


class ChatSettings(Settings):
    """Which model is asked, and where it runs."""

    path: ModelPath | None = None
    """Folder or Hub id of a model to run here."""
    revision: str | None = None
    """Its revision."""
    endpoint: str | None = None
    """Base URL of an OpenAI-compatible service, for example ``http://localhost:8000/v1``."""
    model: str | None = None
    """The model's name at the endpoint."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the endpoint's key; may be unset."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest opinion, in tokens; a model that reasons first needs many more."""
    batch_size: int = Field(default=16, ge=1)
    """Answers judged together, where the model runs here."""
    parallel: int = Field(default=8, ge=1)
    """Requests under way at the endpoint at once."""
    retries: int = Field(default=4, ge=0)
    """Further tries where the endpoint is busy or does not answer."""
    repeats: int = Field(default=2, ge=0)
    """Further times the endpoint is asked where its reply holds no verdict."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds to wait for a whole reply of the endpoint."""

    @field_validator("endpoint")
    @classmethod
    def _is_address(cls, endpoint: str | None) -> str | None:
        if endpoint is not None:
            check_address(endpoint)
        return endpoint

    @model_validator(mode="after")
    def _runs_somewhere(self) -> "ChatSettings":
        if (self.path is None) == (self.endpoint is None) or (self.endpoint is None) != (self.model is None):
            raise ValueError("give either `path`, for a model to run here, or `endpoint` and `model`")
        return self


class ChatModel(Protocol):
    """A model that can be asked."""

    def replies(self, conversations: Sequence[Conversation]) -> Iterator[tuple[int, str | None]]:
        """What it says next in each conversation as it comes, with its place; None for nothing."""


class ChatJudge(Judge):
    """Base of the judges that ask a model; it is loaded once, when first asked."""

    sees = (HARMFUL,)
    is_costly = True
    Settings: ClassVar[type[ChatSettings]] = ChatSettings
    template: ClassVar[dict[str, Any]] = {}
    """What the model's chat template wants besides the messages."""
    form: ClassVar[str]
    """What a reply should look like, in words."""

    def conversation(self, answer: Answer) -> Conversation:
        """How the model is asked about an answer."""
        raise NotImplementedError

    def read(self, reply: str) -> Verdict | None:
        """The verdict in a reply; None where there is none, or not clearly one."""
        raise NotImplementedError

    @cached_property
    def model(self) -> ChatModel:
        """The model, ready to be asked."""
        return chat_model(self.settings, **self.template)

    def check(self) -> None:
        """Ask the endpoint once; a model that runs here is not loaded for it.

        Raises:
            ModelError: the endpoint does not answer.
            ConfigError: its reply holds no verdict.
        """
        if self.settings.endpoint is None:
            return
        once = endpoint_of(self.settings.model_copy(update={"retries": 0}))
        try:
            reply = once.ask(self.conversation(_EXAMPLE))
        except NoReply as error:
            raise ModelError(
                f"Expected an answer from the judge at {once.url}, found: {error}. Check the model's name, and whether "
                "it takes a conversation like this."
            ) from error
        if self.read(reply) is None:
            raise ConfigError(
                f"Expected {self.form} from the model behind the judge {type(self).__name__}, found {reply[:200]!r}. "
                "Use a model that this judge is made for or one that follows instructions, and raise max_new_tokens "
                "where it reasons first."
            )

    def judge(self, answers: Sequence[Answer]) -> Sequence[Verdict | None]:
        """Ask it about every answer."""
        verdicts = dict(self.verdicts(answers))
        return [verdicts.get(place) for place in range(len(answers))]

    def verdicts(self, answers: Sequence[Answer]) -> Iterator[tuple[int, Verdict | None]]:
        """A verdict on every answer as it comes; an answer that says nothing needs no opinion."""
        waiting = [place for place, answer in enumerate(answers) if answer.text.strip()]
        for place in set(range(len(answers))).difference(waiting):
            yield place, Verdict(is_safe=False, is_neither=True)
        rounds = 1 if self.settings.endpoint is None else 1 + self.settings.repeats
        for _ in range(rounds if waiting else 0):
            asked, waiting = waiting, []
            for i, reply in self.model.replies([self.conversation(answers[place]) for place in asked]):
                verdict = None if reply is None else self.read(reply)
                if verdict is None:
                    waiting.append(asked[i])
                else:
                    yield asked[i], verdict
            if not waiting:
                break
        yield from ((place, None) for place in waiting)

    def fingerprint(self) -> str:
        """Hash of what can change its verdicts: how patiently it is asked cannot."""
        return plugin_fingerprint(self, without=("key_variable", "parallel", "retries", "repeats", "timeout"))


def chat_model(settings: ChatSettings, **template: Any) -> ChatModel:
    """The model that the settings name, ready to be asked; `template` goes to its chat template."""
    return endpoint_of(settings) if settings.endpoint is not None else _Local(settings, template)


def endpoint_of(settings: ChatSettings) -> Endpoint:
    """The service that the settings name."""
    return Endpoint(
        base=str(settings.endpoint),
        model=str(settings.model),
        key_variable=settings.key_variable,
        max_new_tokens=settings.max_new_tokens,
        parallel=settings.parallel,
        retries=settings.retries,
        timeout=settings.timeout,
    )


class _Local:
    """A model that runs here."""

    def __init__(self, settings: ChatSettings, template: dict[str, Any]) -> None:
        from securetune.evaluate.generation import Decoding
        from securetune.models.loading import load_model, load_tokenizer

        assert settings.path is not None, "checked with the settings"
        config = ModelConfig(path=settings.path, revision=settings.revision)
        self._model, self._tokenizer = load_model(config), load_tokenizer(config)
        self._decoding = Decoding(max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size)
        self._template = template

    def replies(self, conversations: Sequence[Conversation]) -> Iterator[tuple[int, str | None]]:
        """Batch by batch."""
        from securetune.evaluate.generation import generate

        size = self._decoding.batch_size
        for start in range(0, len(conversations), size):
            rendered = [
                self._tokenizer.apply_chat_template(
                    list(conversation), tokenize=False, add_generation_prompt=True, **self._template
                )
                for conversation in conversations[start : start + size]
            ]
            generated = generate(self._model, self._tokenizer, rendered, self._decoding)
            yield from ((start + i, reply.text) for i, reply in enumerate(generated))
