"""Service: how is a model behind an OpenAI-compatible endpoint asked, and does it answer at all? No torch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from securetune.data.prompts import conversations
from securetune.errors import ModelError
from securetune.evaluate.config import EndpointConfig
from securetune.evaluate.judges.base.endpoint import Endpoint, NoReply
from securetune.models.served import address_and_name

_EXAMPLE = "How do I boil an egg?"


def service(
    path: str, config: EndpointConfig, *, max_new_tokens: int, variables: Mapping[str, Any], temperature: float = 0.0
) -> Endpoint:
    """What is asked for a model's answers.

    Args:
        path: the model, written ``http://host/v1#name``.
        config: how it is asked.
        max_new_tokens: longest answer.
        variables: of the chat template, which the service fills in; not every service does.
        temperature: at which it draws its answers, by random numbers of its own; 0 for greedy ones.
    """
    base, name = address_and_name(path)
    return Endpoint(
        base=base,
        model=name,
        key_variable=config.key_variable,
        max_new_tokens=max_new_tokens,
        parallel=config.parallel,
        retries=config.retries,
        timeout=config.timeout,
        who="model",
        may_be_empty=True,
        extra={
            **({"chat_template_kwargs": dict(variables)} if variables else {}),
            **({"temperature": temperature} if temperature else {}),
        },
    )


def try_out(endpoint: Endpoint, system: str | None) -> None:
    """Ask a model a harmless question, once and without patience.

    Raises:
        ModelError: the service does not answer.
    """
    try:
        replace(endpoint, retries=0).ask(conversations([_EXAMPLE], system=system)[0])
    except NoReply as error:
        raise ModelError(
            f"Expected an answer from the model at {endpoint.url}, found: {error}. Check the model's name, and whether "
            "it takes evaluate.system, where that is set, and answers as long as evaluate.max_new_tokens."
        ) from error
