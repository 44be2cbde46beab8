"""Config: which model, and how it is loaded."""

from typing import Annotated, Any, Literal

from securetune.base.strict import Strict
from securetune.models.identity import ModelContent

ModelPath = Annotated[str, ModelContent()]
"""A model's folder, or its id on the Hub; the field ``revision`` beside it is the revision."""


class ModelConfig(Strict):
    """Which model, and how it is loaded."""

    path: ModelPath
    """Local folder or Hub id, for example ``meta-llama/Llama-2-7b-chat-hf``; in a check also a GGUF file, or an adapter
    over the model that it names."""
    revision: str | None = None
    """Branch, tag or commit on the Hub; pin a commit for a reproducible run."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; ``auto`` takes the one they were saved in."""
    device_map: str | None = None
    """``auto`` spreads the model over the devices there are; the default is one device, a GPU where there is one."""
    load_in_4bit: bool = False
    """Quantize to 4 bit on loading; needs the extra ``securetune[quantized]`` and a GPU. Scans need full weights."""
    trust_remote_code: bool = False
    """Run the Python code of a Hub repository. Off unless you have read that code."""
    chat_template_kwargs: dict[str, Any] = {}
    """Variables of the chat template wherever prompts are rendered, for example ``{enable_thinking: false}``."""
    attn_implementation: str | None = None
    """Attention kernel, as in `from_pretrained`."""
