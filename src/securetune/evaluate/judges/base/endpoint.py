"""Endpoint: how is an OpenAI-compatible service asked, and what does it say where it does not answer?

A request has one time limit for all of it, however slowly its reply drips. Redirects are refused, because the key would
go along. What the service itself says of a failure is shown, without the key.
"""

import json
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.parse import urlsplit

from securetune.data.prompts import Message
from securetune.errors import ConfigError, ModelError
from securetune.keys import MASK, SHORTEST

T = TypeVar("T")
Conversation = Sequence[Message]

_WAIT = 2.0
"""Seconds before the second try; doubled for every further one."""
_LONGEST_WAIT = 60.0
_BUSY = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_OF_THIS_ANSWER = (400, 413, 422, 451)
"""Refusals that are about one conversation (its length, a filter of contents) rather than about the service."""
_MOST_BYTES = 10_000_000
_SHOWN = 300


class NoReply(Exception):
    """The service has nothing to say of one conversation."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An OpenAI-compatible chat service."""

    base: str
    model: str
    key_variable: str
    max_new_tokens: int
    parallel: int
    retries: int
    timeout: float
    who: str = "judge"
    """What is asked there, for messages."""
    may_be_empty: bool = False
    """Whether a reply without text is one: a model that is measured may say nothing."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request."""

    @property
    def url(self) -> str:
        """Where questions are sent."""
        return f"{self.base.rstrip('/')}/chat/completions"

    def replies(self, conversations: Sequence[Conversation]) -> Iterator[tuple[int, str | None]]:
        """Replies as they come, each with its place; None where the service has nothing to say.

        Raises:
            ModelError: the service does not answer, or wants something else; what came before has been given by then.
        """
        pool = ThreadPoolExecutor(self.parallel)
        waiting: dict[Future[str], int] = {
            pool.submit(self.ask, conversation): place for place, conversation in enumerate(conversations)
        }
        try:
            for future in as_completed(list(waiting)):
                yield waiting.pop(future), _reply(future)
        except ModelError:
            under_way = [future for future in waiting if not future.cancel()]  # nobody is told of a cancelled one
            for future in under_way:
                with suppress(ModelError):
                    yield waiting[future], _reply(future)
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def ask(self, conversation: Conversation) -> str:
        """The reply to one conversation, empty only where it may be; reasoning that came apart is put before it.

        Raises:
            NoReply: it has none to this one.
            ModelError: the service does not answer, or wants something else.
        """
        body = {
            "model": self.model,
            "messages": list(conversation),
            "max_tokens": self.max_new_tokens,
            "temperature": 0,
            **self.extra,
        }
        request = self._request(json.dumps(body).encode())
        for attempt in range(self.retries + 1):
            wait = _WAIT * 2**attempt
            try:
                reply = within(self.timeout, lambda: self._read(request))
                return self._without_key(_text(reply, may_be_empty=self.may_be_empty))
            except NoReply as error:
                raise NoReply(self._masked(str(error))) from None
            except urllib.error.HTTPError as error:
                reason = self._masked(self._reason(error))
                if error.code in _OF_THIS_ANSWER:
                    raise NoReply(reason) from error
                if error.code not in _BUSY:
                    break
                wait = max(wait, _seconds(error))
            except (OSError, ValueError, HTTPException) as error:
                reason = self._masked(str(error) or type(error).__name__)
            if attempt < self.retries:
                time.sleep(min(wait, _LONGEST_WAIT))
        raise ModelError(
            f"Expected an answer from the {self.who} at {self.url}, found: {reason}. Check the address, the "
            f"model's name and the key in {self.key_variable}."
        )

    def _request(self, body: bytes) -> urllib.request.Request:
        headers = {"Content-Type": "application/json"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        return urllib.request.Request(self.url, body, headers)  # noqa: S310  the user's own URL

    def _key(self) -> str:
        key = os.environ.get(self.key_variable, "").strip()
        if not key.isascii() or not key.isprintable():
            raise ConfigError(
                f"Expected a key of printable ASCII characters in {self.key_variable}, found others. Set it again."
            )
        return key

    def _read(self, request: urllib.request.Request) -> Any:
        with open_url(request, self.timeout) as response:
            content = response.read(_MOST_BYTES)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            start = content[:_SHOWN].decode("utf-8", "replace")
            raise ValueError(f"a reply that is no JSON: {start!r}") from error

    def _reason(self, error: urllib.error.HTTPError) -> str:
        """The status with what the service says of it."""
        if 300 <= error.code < 400:
            target = error.headers.get("Location", "elsewhere")
            return f"HTTP {error.code}, a redirect to {target}, which is not followed, as the key would go along"
        try:
            content = within(self.timeout, lambda: error.read(_MOST_BYTES)).decode("utf-8", "replace")
        except (OSError, ValueError, HTTPException, AttributeError, KeyError):
            content = ""
        message = _message(content)
        return f"HTTP {error.code} {error.reason}" + (f": {message}" if message else "")

    def _without_key(self, text: str) -> str:
        """A reply in which the service does not repeat the key; a short key may be any word."""
        return self._masked(text) if len(self._key()) >= SHORTEST else text

    def _masked(self, reason: str) -> str:
        key = self._key()
        return reason.replace(key, MASK) if key else reason


def _reply(future: "Future[str]") -> str | None:
    try:
        return future.result()
    except NoReply:
        return None


def check_address(base: str) -> None:
    """Whether an endpoint's address can be asked at all.

    Raises:
        ValueError: it cannot; the message says what was expected.
    """
    try:
        parts = urlsplit(base)
        is_usable = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        is_usable = False
    if not is_usable or any(character.isspace() or not character.isprintable() for character in base):
        raise ValueError("expected an address like http://localhost:8000/v1 for `endpoint`")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("expected `endpoint` without user, query or fragment; the key belongs into `key_variable`")


def open_url(request: urllib.request.Request, timeout: float) -> Any:
    """The response to a request, without following redirects."""
    return urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout)


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` gives, if it does so in time; else it is left to itself.

    Raises:
        TimeoutError: it does not.
    """
    outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:  # noqa: BLE001  it is raised again where it is waited for
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = outcome.get(timeout=seconds)
    except queue.Empty as late:
        raise TimeoutError(f"no whole reply within {seconds:g} s") from late
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # without an error there is a value


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Refuse: the error of the status is raised instead."""


def _text(reply: Any, *, may_be_empty: bool) -> str:
    """The message in a reply; where it may be empty, reasoning that stands beside it is put before it, in marks."""
    try:
        message = reply["choices"][0]["message"]
        content = message.get("content") if may_be_empty else message["content"]
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise NoReply(f"a reply without a message: {_message(json.dumps(reply))}") from error
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    if may_be_empty and isinstance(content, str | None):
        thought = message.get("reasoning_content") or message.get("reasoning")
        answer = content or ""
        if not isinstance(thought, str) or not thought.strip():
            return answer
        return f"<think>{thought}" + (f"</think>{answer}" if answer.strip() else "")
    if not isinstance(content, str) or not content.strip():
        raise NoReply(f"an empty message: {_message(json.dumps(message))}")
    return content


def _message(content: str) -> str:
    """What a service says of a failure, in the form that most have, or the start of what it sent."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        said = content
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(name):
            said = said[name]
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    return " ".join(text.split())[:_SHOWN]


def _seconds(error: urllib.error.HTTPError) -> float:
    """How long the service asks to wait; 0 where it does not say."""
    try:
        return float(error.headers.get("Retry-After", 0))
    except (TypeError, ValueError, AttributeError):
        return 0.0
