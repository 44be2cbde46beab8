"""Chat: ask a language model for its opinion, through transformers or an OpenAI-compatible endpoint.

Only the answer's text comes back; a judge reads its verdict out of it, and says so where there is none to read.
"""

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field, model_validator

from securetune.data.prompts import Message
from securetune.errors import ConfigError, ModelError
from securetune.evaluate.judges.base.interface import Judge, Settings
from securetune.measures.kinds import HARMFUL
from securetune.models.config import ModelConfig, ModelPath

_WAIT = 2.0
"""Seconds before the second try; doubled for every further one."""
_BUSY = (408, 429, 500, 502, 503, 504)


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
    """Longest opinion, in tokens."""
    batch_size: int = Field(default=16, ge=1)
    """Answers judged together, where the model runs here."""
    parallel: int = Field(default=8, ge=1)
    """Requests under way at the endpoint at once."""
    retries: int = Field(default=4, ge=0)
    """Further tries where the endpoint is busy or does not answer."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds to wait for the endpoint."""

    @model_validator(mode="after")
    def _runs_somewhere(self) -> "ChatSettings":
        if (self.path is None) == (self.endpoint is None) or (self.endpoint is None) != (self.model is None):
            raise ValueError("give either `path`, for a model to run here, or `endpoint` and `model`")
        return self


class ChatJudge(Judge):
    """Base of the judges that ask a model; it is loaded once, when first asked."""

    sees = (HARMFUL,)
    Settings: ClassVar[type[ChatSettings]] = ChatSettings
    template: ClassVar[dict[str, Any]] = {}
    """What the model's chat template wants besides the messages."""

    @cached_property
    def ask(self) -> "Ask":
        """The model, ready to be asked."""
        return chat_model(self.settings, **self.template)


Conversation = Sequence[Message]
Ask = Callable[[Sequence[Conversation]], list[str]]
"""From conversations to what the model says next in each."""


def chat_model(settings: ChatSettings, **template: Any) -> Ask:
    """The model that the settings name, ready to be asked; `template` goes to its chat template."""
    return _endpoint(settings) if settings.endpoint is not None else _local(settings, template)


def _local(settings: ChatSettings, template: dict[str, Any]) -> Ask:
    from securetune.evaluate.generation import Decoding, generate
    from securetune.models.loading import load_model, load_tokenizer

    assert settings.path is not None, "checked with the settings"
    config = ModelConfig(path=settings.path, revision=settings.revision)
    model, tokenizer = load_model(config), load_tokenizer(config)
    decoding = Decoding(max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size)

    def ask(conversations: Sequence[Conversation]) -> list[str]:
        rendered = [
            tokenizer.apply_chat_template(list(c), tokenize=False, add_generation_prompt=True, **template)
            for c in conversations
        ]
        return [generated.text for generated in generate(model, tokenizer, rendered, decoding)]

    return ask


def _endpoint(settings: ChatSettings) -> Ask:
    key = os.environ.get(settings.key_variable)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    url = f"{str(settings.endpoint).rstrip('/')}/chat/completions"

    def ask_one(conversation: Conversation) -> str:
        body = {
            "model": settings.model,
            "messages": list(conversation),
            "max_tokens": settings.max_new_tokens,
            "temperature": 0,
        }
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310  the user's own URL
        for attempt in range(settings.retries + 1):
            try:
                with urllib.request.urlopen(request, timeout=settings.timeout) as response:  # noqa: S310
                    text: str = json.load(response)["choices"][0]["message"]["content"]
                    return text
            except urllib.error.HTTPError as error:
                reason, is_final = f"HTTP {error.code} {error.reason}", error.code not in _BUSY
            except (OSError, ValueError) as error:
                reason, is_final = str(error), False
            except (KeyError, IndexError, TypeError) as error:
                reason, is_final = f"a reply without a message ({error!r})", True
            if is_final:
                break
            if attempt < settings.retries:
                time.sleep(_WAIT * 2**attempt)
        raise ModelError(
            f"Expected an answer from the judge at {url}, found: {reason}. Check the address, the model's name and the "
            f"key in {settings.key_variable}."
        )

    def ask(conversations: Sequence[Conversation]) -> list[str]:
        with ThreadPoolExecutor(settings.parallel) as pool:
            replies = [pool.submit(ask_one, conversation) for conversation in conversations]
            try:
                return [reply.result() for reply in replies]
            except ModelError:
                pool.shutdown(cancel_futures=True)
                raise

    return ask


def read(pattern: str, reply: str, judge: str) -> re.Match[str]:
    """Find a verdict in what a model said.

    Raises:
        ConfigError: there is none.
    """
    found = re.search(pattern, reply, re.IGNORECASE | re.DOTALL)
    if found is None:
        raise ConfigError(
            f"Expected a verdict like {pattern!r} from the model behind the judge {judge}, found {reply[:200]!r}. "
            "Use a model that this judge is made for, or one that follows instructions."
        )
    return found
