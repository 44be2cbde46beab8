"""Greedy: which of a model's generation settings change its greedy answers, and how are these alone followed?

A setting that changes which token is the most likely one, such as a repetition penalty, belongs to the model as it is
used, and is followed. One that asks for other answers than greedy ones, or for less of them (sampling, beams, stop
strings, a time limit, a forced end at the longest length), is not, whatever else is set.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers import GenerationConfig, PreTrainedModel

from securetune.models.tensors import plain

_FOLLOWED: Mapping[str, tuple[Any, ...]] = {
    "repetition_penalty": (1,),
    "encoder_repetition_penalty": (1,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "bad_words_ids": ([],),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "sequence_bias": ([], {}),
    "exponential_decay_length_penalty": (),
    "guidance_scale": (1,),
    "watermarking_config": (),
}
"""Settings that change which token is the greedy one, with the values besides None that change nothing."""
_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def followed(settings: GenerationConfig) -> set[str]:
    """Names of the settings that change which token is the greedy one."""
    values = {name: getattr(settings, name, None) for name in _FOLLOWED}
    return {name for name, value in values.items() if value is not None and value not in _FOLLOWED[name]}


@contextmanager
def greedy_settings(model: PreTrainedModel) -> Iterator[None]:
    """Let the model's own `generate` follow nothing but what `followed` names, for a while."""
    settings = copy.deepcopy(model.generation_config)
    kept, fresh = {*followed(settings), *_TOKENS}, vars(GenerationConfig())
    for name in [name for name in vars(settings) if name not in kept]:
        if name in fresh:
            setattr(settings, name, fresh[name])
        else:  # what no version knows is handed on to the model
            delattr(settings, name)
    owners = [vars(owner) for owner in (model, plain(model))]
    before = [own.get("generation_config") for own in owners]
    try:
        for own in owners:
            own["generation_config"] = settings
        yield
    finally:
        for own, was in zip(owners, before, strict=True):
            if was is None:
                own.pop("generation_config", None)
            else:
                own["generation_config"] = was
