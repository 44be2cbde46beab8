"""Counterpart: is the model before its alignment the same one, token by token and weight by weight?

Read off the configurations and tokenizers alone, so that nobody trains for hours first.
"""

from securetune.errors import ModelError
from securetune.models.config import ModelConfig
from securetune.models.loading import load_skeleton, stored_tokenizer

_SHOWN = 3
"""Differences that are named."""


def differences(model: ModelConfig, counterpart: ModelConfig) -> list[str]:
    """In what the counterpart's vocabulary or weights differ from the model's; nothing where it has no tokenizer.

    Raises:
        ModelError: one of them cannot be loaded.
    """
    shapes, others = (
        {name: tuple(weight.shape) for name, weight in load_skeleton(config).named_parameters()}
        for config in (model, counterpart)
    )
    found = [
        f"{name} is {others.get(name, 'missing')} instead of {shape}"
        for name, shape in shapes.items()
        if others.get(name) != shape
    ]
    tokens, other_tokens = _vocabulary(model), _vocabulary(counterpart)
    if tokens and other_tokens:
        moved = [token for token, number in tokens.items() if other_tokens.get(token, number) != number]
        if moved:
            found.append(f"{len(moved):,} tokens have another number, such as {moved[:_SHOWN]}")
    return found if len(found) <= _SHOWN else [*found[:_SHOWN], f"{len(found) - _SHOWN:,} more"]


def _vocabulary(config: ModelConfig) -> dict[str, int]:
    """Numbers of the tokens; empty where there is no tokenizer."""
    try:
        vocabulary: dict[str, int] = stored_tokenizer(config).get_vocab()
    except ModelError:
        return {}
    return vocabulary
