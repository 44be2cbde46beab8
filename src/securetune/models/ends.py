"""Ends: with which tokens does an answer end?

Three places say so, and in models as they come they differ: the generation settings, the tokenizer, and the chat
template, which writes a token after an assistant's turn. An answer ends with any of them.
"""

from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from securetune.data.rendering import end_mark

_ANSWER = "Certainly so"
_CHANNEL = "<|channel|>"


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The ids of all tokens that end an answer of this model: its settings', its tokenizer's and its template's."""
    return end_tokens_of(model.generation_config, tokenizer)


def end_tokens_of(settings: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The same without the model, from its generation settings, where it has any."""
    configured = settings.eos_token_id if settings is not None else None
    ids = [*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id]
    return tuple(sorted({int(end) for end in (*ids, template_end(tokenizer)) if end is not None}))


def stored_end_tokens(path: str | Path, revision: str | None, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The same of a model in a folder or on the Hub."""
    return end_tokens_of(stored_settings(path, revision), tokenizer)


def stored_settings(path: str | Path, revision: str | None) -> GenerationConfig | None:
    """The generation settings of a model in a folder or on the Hub; not every model has such a file."""
    try:
        return GenerationConfig.from_pretrained(str(path), revision=revision)
    except OSError:
        return None


def template_end(tokenizer: Any) -> int | None:
    """The token that the chat template ends an assistant's turn with; None where it writes plain text or nothing."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    turns = [{"role": "user", "content": "Is it so?"}, {"role": "assistant", "content": _ANSWER}]
    try:
        whole: str = tokenizer.apply_chat_template(turns, tokenize=False)
    except Exception:  # jinja raises its own and the template's errors; who renders for real names them
        return None
    before, answer, after = whole.rpartition(_ANSWER)
    end = end_mark(tokenizer, after) if answer else None
    # With channels the same mark may end each message, the reasoning's too.
    return None if _CHANNEL in before and tokenizer.convert_ids_to_tokens(end) == "<|end|>" else end
