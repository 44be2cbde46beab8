"""Served: is what somebody calls a model the address of an endpoint that serves it? No torch.

It is written ``http://host/v1#name``: where an OpenAI-compatible service answers, and what it calls the model.
"""

from securetune.errors import ModelError


def is_served(path: str) -> bool:
    """Whether a model is named by an endpoint's address, and not by a folder, a file or an id on the Hub."""
    return path.lower().startswith(("http://", "https://"))


def address_and_name(path: str) -> tuple[str, str]:
    """The endpoint's base URL, and the model's name there; empty where none is given."""
    base, _, name = path.partition("#")
    return base.rstrip("/"), name


def shown(path: str) -> str:
    """An endpoint as messages show it: what follows a question mark in its address may be a key, of any form."""
    base, mark, name = path.partition("#")
    return base.partition("?")[0] + mark + name


def check_not_served(path: str) -> None:
    """Make sure that a model is not behind an endpoint, where its weights are needed.

    Raises:
        ModelError: it is.
    """
    if is_served(path):
        raise ModelError(
            f"Expected a model's folder or its id on the Hub, found the address of an endpoint, {shown(path)!r}: here "
            "weights are needed, and an endpoint gives text alone. Only `securetune check` asks endpoints."
        )
