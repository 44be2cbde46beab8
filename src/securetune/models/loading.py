"""Loading: from a folder or Hub id to a model and its tokenizer, each of them whole or not at all."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.utils import load_peft_weights
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from securetune.base.artifacts import digest
from securetune.base.fingerprint import fingerprint
from securetune.errors import ModelError
from securetune.models.config import ModelConfig
from securetune.models.files import check_model, named
from securetune.models.given import GivenConfig
from securetune.models.identity import unloadable
from securetune.models.libraries import processes
from securetune.models.source import adapter_folder, below, is_gguf, pretrained, weights_of
from securetune.models.template import close_reasoning, set_variables
from securetune.models.trial import check_ends

_NOT_TEXT = ("image", "boi", "eoi", "audio", "boa", "eoa", "video")
"""Tokens that some tokenizers keep for what no text holds; language models of such a family have no rows for them."""


_ADDED = "<|endoftext|>"
"""Token that transformers adds to the tokenizer of a GGUF file, whether the file has it or not."""
_TOKENIZER = "tokenizer_config.json"


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer, left-padding, with a pad token and a chat template.

    Raises:
        ModelError: no tokenizer there, without a chat template, with tokens that the model does not know, or with a
            template without a variable that is to be set.
    """
    tokenizer = stored_tokenizer(config)
    if not tokenizer.chat_template:
        raise ModelError(
            f"Expected a chat template in the tokenizer of {config.path!r}, found none: without it prompts cannot be "
            "put the way the model was aligned on. Use the chat variant of the model, or save a chat_template.jinja "
            "into its folder."
        )
    texts = tokenizer.chat_template
    for template in texts.values() if isinstance(texts, dict) else [texts]:
        check_ends(config.path, template, _named_tokens(tokenizer))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None or not isinstance(tokenizer.model_max_length, int | float):
        raise ModelError(
            f"Expected a tokenizer with an end or a padding token and a number as its longest length at "
            f"{config.path!r}, found {tokenizer.eos_token!r}, {tokenizer.pad_token!r} and "
            f"{tokenizer.model_max_length!r}. Copy tokenizer_config.json again."
        )
    tokenizer.padding_side = "left"
    _check_vocabulary(tokenizer, config)
    set_variables(tokenizer, config.chat_template_kwargs)
    close_reasoning(tokenizer)
    return tokenizer


def stored_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """The tokenizer just as it lies there, to be stored again beside another model.

    Raises:
        ModelError: no tokenizer there.
    """
    check_model(config.path, config.revision)
    adapter = adapter_folder(config.path, config.revision)
    if adapter is not None and not (adapter / _TOKENIZER).is_file():
        return stored_tokenizer(_below(config, adapter))
    place, options = (str(adapter), {}) if adapter else _place(config)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, **options)
    except Exception as error:  # a file cut short raises the plainest kind
        raise unloadable(config.path, "tokenizer", error) from error
    return tokenizer


def load_model(config: ModelConfig) -> PreTrainedModel:
    """Load the model in evaluation mode; an adapter is merged into the model that it names.

    Raises:
        ModelError: no such folder or Hub model, not a causal LM, a missing extra, or weights that are not the model's.
    """
    check_model(config.path, config.revision)
    adapter = adapter_folder(config.path, config.revision)
    if adapter is not None:
        merged: PreTrainedModel = with_adapter(load_model(_below(config, adapter)), adapter).merge_and_unload()
        return merged.eval()
    place, options = _place(config)
    options["dtype"] = config.dtype if config.dtype == "auto" else getattr(torch, config.dtype)
    if config.attn_implementation:
        options["attn_implementation"] = config.attn_implementation
    if config.load_in_4bit:
        options["quantization_config"] = _four_bit()
    options["device_map"] = config.device_map or _own_device()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            place, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except ImportError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ModelError(
            f"Expected the packages that read the weights of {config.path!r}, found: {reason}. Install what it names, "
            "or give the model before it was quantized."
        ) from error
    except Exception as error:  # what is wrong in a file or a configuration raises many kinds
        raise unloadable(config.path, "model", error) from error
    _check_report(report, config.path)
    _check_quantized(model, config.path)
    _check_generation(model, config.path)
    _check_finite(model, config.path)
    return model.eval()


def with_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """The model with an adapter over it, in evaluation mode.

    Raises:
        ModelError: the adapter cannot be read, or is not one of this model.
    """
    try:
        tuned = PeftModel.from_pretrained(model, str(folder))
        stored = set(load_peft_weights(str(folder), device="cpu"))
    except Exception as error:  # a cut file, a wrong shape and an unknown kind raise their own
        raise unloadable(str(folder), "adapter", error) from error
    wanted = set(get_peft_model_state_dict(tuned, save_embedding_layers=False))
    unread = {name for name in stored - wanted if "lora_" in name}
    _check_names({"missing": wanted - stored, "unknown": unread}, str(folder), "adapter")
    _check_finite(tuned, str(folder))
    return tuned.eval()


def load_given(given: GivenConfig, base: ModelConfig) -> PreTrainedModel | PeftModel:
    """A model that was tuned elsewhere: a whole one, or an adapter over the model before tuning.

    Raises:
        ModelError: it cannot be loaded, is not one of this model, or changes nothing of it.
    """
    if given.adapter is None:
        return load_model(given.as_model(base))
    model = with_adapter(load_model(base), given.adapter)
    if not _changes_something(model):
        raise ModelError(
            f"Expected a tuned adapter in {given.path!r}, found one that changes nothing: all its outer factors "
            "(lora_B) are zero, as before any training, or its inner ones or its scale are. Give the folder that the "
            "training wrote at its end."
        )
    return model


def _changes_something(model: PeftModel) -> bool:
    """Whether any pair of LoRA's factors, times its scale, is not zero; true of adapters of other kinds."""
    layers = [layer for layer in model.modules() if isinstance(layer, LoraLayer) and layer.lora_B]
    return not layers or any(
        layer.scaling[name] != 0 and bool(factor.weight.any()) and bool(layer.lora_A[name].weight.any())
        for layer in layers
        for name, factor in layer.lora_B.items()
    )


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
    check_model(config.path)
    try:
        architecture = _architecture(config)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(architecture, trust_remote_code=config.trust_remote_code)
    except Exception as error:  # what is wrong in a configuration raises many kinds
        raise unloadable(config.path, "model", error) from error


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of vocabulary and chat template: equal tokenizers put prompts alike."""
    return digest([tokenizer.get_vocab(), tokenizer.chat_template])


def _named_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    return {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}


def _place(config: ModelConfig) -> tuple[str, dict[str, Any]]:
    """What `from_pretrained` finds the model by."""
    place, options = pretrained(config.path)
    return place, options | {"revision": config.revision, "trust_remote_code": config.trust_remote_code}


def _architecture(config: ModelConfig) -> PreTrainedConfig:
    """The configuration of the model, or of the one under its adapter."""
    path, revision = weights_of(config.path, config.revision)
    place, options = _place(config.model_copy(update={"path": path, "revision": revision}))
    return AutoConfig.from_pretrained(place, **options)


def _below(config: ModelConfig, adapter: Path) -> ModelConfig:
    """How the model under an adapter is loaded."""
    path, revision = below(adapter)
    return config.model_copy(update={"path": path, "revision": revision})


def _check_report(report: Mapping[str, Any], path: str) -> None:
    """Make sure that a model is what its files hold: what is missing there would be random."""
    shapes = [f"{name} ({list(stored)} for {list(own)})" for name, stored, own in report["mismatched_keys"]]
    names = {"missing": report["missing_keys"], "unknown": report["unexpected_keys"], "of another shape": shapes}
    _check_names(names, path, "model")


def _check_generation(model: PreTrainedModel, path: str) -> None:
    """Make sure that the model writes on from a prompt, and that its settings for that can be used."""
    settings = model.generation_config
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    wrong = [f"eos_token_id {end!r}" for end in ends if end is not None and not isinstance(end, int)]
    if not isinstance(settings.num_beams or 1, int) or (settings.num_beams is not None and settings.num_beams < 1):
        wrong.append(f"num_beams {settings.num_beams!r}")
    if model.config.is_encoder_decoder:
        wrong.append("is_encoder_decoder true")
    if wrong:
        raise ModelError(
            f"Expected a model at {path!r} that writes on from a prompt, found {', '.join(wrong)} in its "
            "configuration. Correct generation_config.json or config.json, or copy them again."
        )


def _check_quantized(model: PreTrainedModel, path: str) -> None:
    """Make sure that weights of a named quantization were read as such; one that is not known is passed over."""
    named_one = getattr(model.config, "quantization_config", None)
    if named_one and getattr(model, "hf_quantizer", None) is None:
        method = named_one.get("quant_method") if isinstance(named_one, dict) else named_one
        raise ModelError(
            f"Expected a quantization that transformers reads in config.json of {path!r}, found {method!r}. Update "
            "transformers, or give the model before it was quantized."
        )


def _check_finite(model: PreTrainedModel | PeftModel, path: str) -> None:
    """Make sure that all weights are numbers: one that is none makes every answer the same."""
    for name, weight in model.named_parameters():
        is_readable = weight.is_floating_point() and weight.dtype.itemsize > 1 and not weight.is_meta
        if is_readable and not bool(torch.isfinite(weight).all()):
            raise ModelError(
                f"Expected numbers in the weights of {path!r}, found some in {name} that are not finite. Copy its "
                "files again, or go back to a checkpoint of before the training went wrong."
            )


def _check_names(names: Mapping[str, Collection[str]], path: str, what: str) -> None:
    problems = [f"{kind}: {named(sorted(tensors))}" for kind, tensors in names.items() if tensors]
    if problems:
        raise ModelError(
            f"Expected the weights of {path!r} to be those of its {what}, found {'; '.join(problems)}. What is missing "
            f"would be random: copy its files again, or save the whole {what} with `save_pretrained`."
        )


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, config: ModelConfig) -> None:
    """Make sure that every token has a row in the embedding, but for the places of pictures and sounds."""
    ids = tokenizer.get_vocab()
    try:
        architecture = _architecture(config)
    except Exception as error:  # what is wrong in a configuration raises many kinds
        raise unloadable(config.path, "model", error) from error
    if max(ids.values()) < (getattr(architecture.get_text_config(), "vocab_size", None) or 0):
        return
    rows = load_skeleton(config).get_input_embeddings().weight.shape[0]  # may have more than the configuration says
    places = {getattr(tokenizer, f"{kind}_token", None) for kind in _NOT_TEXT}
    places |= {_ADDED} if is_gguf(config.path) else set()
    beyond = sorted(token for token, number in ids.items() if number >= rows and token not in places)
    if beyond:
        raise ModelError(
            f"Expected every token of the tokenizer of {config.path!r} among the {rows} rows of the model's embedding, "
            f"found {named(beyond)} beyond them. Take the tokenizer that belongs to the model, or resize and tune it: "
            "`model.resize_token_embeddings(len(tokenizer))`."
        )


def _own_device() -> str | None:
    """One GPU per process where there is one."""
    return f"cuda:{processes().local_process_index}" if torch.cuda.is_available() else None


def _four_bit() -> object:
    if not torch.accelerator.is_available():
        raise ModelError("Expected a GPU for load_in_4bit, found none. Leave it out, or run on another machine.")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise ModelError(
            "Expected bitsandbytes for load_in_4bit, found it missing. Install it: pip install 'securetune[quantized]'."
        ) from error
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16, bnb_4bit_quant_type="nf4")
