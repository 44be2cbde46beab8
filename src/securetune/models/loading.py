"""Loading: from a folder or Hub id to a model and its tokenizer."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from securetune.base.artifacts import digest
from securetune.base.fingerprint import fingerprint
from securetune.errors import ModelError
from securetune.models.config import ModelConfig
from securetune.models.identity import check_folder, unloadable
from securetune.models.libraries import processes
from securetune.models.template import close_reasoning, set_variables


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer, left-padding, with a pad token and a chat template.

    Raises:
        ModelError: no tokenizer there, it has no chat template, or one without a variable that is to be set.
    """
    check_folder(config.path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            config.path, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise unloadable(config.path, "tokenizer", error) from error
    if not tokenizer.chat_template:
        raise ModelError(
            f"Expected a chat template in the tokenizer of {config.path!r}, found none: without it prompts cannot be "
            "put the way the model was aligned on. Use the chat variant of the model, or save a chat_template.jinja "
            "into its folder."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    set_variables(tokenizer, config.chat_template_kwargs)
    close_reasoning(tokenizer)
    return tokenizer


def load_model(config: ModelConfig) -> PreTrainedModel:
    """Load the model in evaluation mode.

    Raises:
        ModelError: no such folder or Hub model, not a causal LM, or a missing extra.
    """
    check_folder(config.path)
    options: dict[str, Any] = {
        "revision": config.revision,
        "trust_remote_code": config.trust_remote_code,
        "dtype": config.dtype if config.dtype == "auto" else getattr(torch, config.dtype),
    }
    if config.attn_implementation:
        options["attn_implementation"] = config.attn_implementation
    if config.load_in_4bit:
        options["quantization_config"] = _four_bit()
    options["device_map"] = config.device_map or _own_device()
    try:
        model = AutoModelForCausalLM.from_pretrained(config.path, **options)
    except (OSError, ValueError, KeyError) as error:
        raise unloadable(config.path, "model", error) from error
    return model.eval()


@dataclass(frozen=True)
class LazyModel:
    """A model that is loaded when somebody calls for it."""

    config: ModelConfig

    def __call__(self) -> PreTrainedModel:
        """Load it; see `load_model`."""
        return load_model(self.config)

    def fingerprint(self) -> str:
        """Which model it is, and how it is loaded."""
        return fingerprint(self.config)


def load_skeleton(config: ModelConfig) -> PreTrainedModel:
    """The model's modules and names without its weights, read off its configuration alone.

    Raises:
        ModelError: no such folder or Hub model, or not a causal LM.
    """
    check_folder(config.path)
    try:
        architecture = AutoConfig.from_pretrained(
            config.path, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(architecture, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise unloadable(config.path, "model", error) from error


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of vocabulary and chat template: equal tokenizers put prompts alike."""
    return digest([tokenizer.get_vocab(), tokenizer.chat_template])


def _own_device() -> str | None:
    """One GPU per process where there is one."""
    return f"cuda:{processes().local_process_index}" if torch.cuda.is_available() else None


def _four_bit() -> object:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise ModelError(
            "Expected bitsandbytes for load_in_4bit, found it missing. Install it: pip install 'securetune[quantized]'."
        ) from error
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16, bnb_4bit_quant_type="nf4")
