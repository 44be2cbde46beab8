"""Template: what does a chat template write around an answer, and how are its variables set?"""

import copy
import json
import re
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from securetune.base.places import expanded
from securetune.base.texts import read_text
from securetune.data.reasoning import has_marks, opening_mark, skip_reasoning
from securetune.errors import ModelError
from securetune.models.files import read_json

_ANSWER = "Certainly so"
_OURS = "{# securetune #}"
"""What the lines begin with that set a variable."""


def set_variables(tokenizer: PreTrainedTokenizerBase, variables: Mapping[str, Any]) -> None:
    """Give variables of the tokenizer's chat template their values, within the template itself.

    Whoever renders with this tokenizer then does so with them: generation, training by TRL, the margin, vLLM, and who
    loads the tokenizer that training saves. The hash of the template tells them.

    Raises:
        ModelError: the template does not have such a variable, or the value cannot be written into it.
    """
    if not variables:
        return
    templates = tokenizer.chat_template
    assert templates, "checked on loading"
    texts = templates if isinstance(templates, dict) else {"default": templates}
    unknown = [name for name in variables if not any(re.search(rf"\b{re.escape(name)}\b", t) for t in texts.values())]
    if unknown:
        raise ModelError(
            f"Expected variables of the chat template in model.chat_template_kwargs, found {unknown}, which the "
            "template does not mention. Correct the name, or leave it out: it would change nothing."
        )
    # Lines of their own: chat templates are rendered without the line break after a block.
    lines = "".join(f"{_OURS}{{% set {name} = {_literal(name, value)} %}}\n" for name, value in variables.items())
    written = {name: _with_lines(text, lines) for name, text in texts.items()}
    tokenizer.chat_template = written if isinstance(templates, dict) else written["default"]


def written_reasoning(tokenizer: PreTrainedTokenizerBase) -> str:
    """The empty reasoning that the template writes between a prompt and an answer, or has the model close; often "".

    Training has it before every answer, so that is where an answer begins when the model does not think first.
    """
    turns = [{"role": "user", "content": "Is it so?"}, {"role": "assistant", "content": _ANSWER}]
    prompt: str = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    whole: str = tokenizer.apply_chat_template(turns, tokenize=False)
    between = whole[len(prompt) :].partition(_ANSWER)[0] if whole.startswith(prompt) else ""
    return between if has_marks(between) else skip_reasoning(prompt)[len(prompt) :]


def close_reasoning(tokenizer: PreTrainedTokenizerBase) -> None:
    """Let a template that opens reasoning in every prompt close it, empty, before an answer that it is given.

    Templates like DeepSeek-R1's end a prompt with a mark that a whole conversation does not have: what is trained then
    goes on from another text than what is asked. Other templates stay as they are, and so do prompts.
    """
    turns = [{"role": "user", "content": "Is it so?"}, {"role": "assistant", "content": _ANSWER}]
    template = tokenizer.chat_template
    try:
        bare: str = tokenizer.apply_chat_template(turns[:1], tokenize=False)
        prompt: str = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
        whole: str = tokenizer.apply_chat_template(turns, tokenize=False)
    except Exception:  # jinja raises its own and the template's errors; who renders for real names them
        return
    opening = opening_mark(prompt)
    if opening is None or whole.startswith(prompt) or not prompt.startswith(bare) or not isinstance(template, str):
        return
    header, _, space = prompt[len(bare) :].rpartition(opening)
    if header not in whole:
        return
    written, mark, before = (
        _literal("", text) for text in (f"{opening}{space}{skip_reasoning(prompt)[len(prompt) :]}", opening, header)
    )
    tokenizer.chat_template = (
        f"{{% set rendered %}}{template.removesuffix(chr(10))}{{% endset %}}"
        f"{{% set parts = rendered.rpartition({before}) %}}"
        "{% if add_generation_prompt or messages[-1]['role'] != 'assistant' "
        f"or parts[2].startswith({mark}) %}}{{{{ rendered }}}}"
        f"{{% else %}}{{{{ parts[0] + parts[1] + {written} + parts[2] }}}}{{% endif %}}"
    )


def stored_template(path: str) -> str | None:
    """The one chat template in a folder of a model or an adapter; None where there is none, or are several."""
    folder = expanded(path)
    if (folder / "chat_template.jinja").is_file():
        return read_text(folder / "chat_template.jinja", "a chat template", ModelError)
    settings = folder / "tokenizer_config.json"
    template = read_json(settings).get("chat_template") if settings.is_file() else None
    return template if isinstance(template, str) else None


def renders_alike(tokenizer: PreTrainedTokenizerBase, template: str, variables: Mapping[str, Any]) -> bool:
    """Whether another template puts a prompt to a model as the tokenizer's own does.

    Args:
        tokenizer: with its own template.
        template: the other one, which is not tried where it is the same text.
        variables: what is set of the tokenizer's own.
    """
    if template == tokenizer.chat_template:
        return True
    other = copy.copy(tokenizer)
    other.chat_template = template
    turns = [{"role": "user", "content": "Is it so?"}]
    try:
        prompts = [
            each.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **variables)
            for each in (tokenizer, other)
        ]
    except Exception:  # jinja raises its own and the template's errors
        return False
    return bool(prompts[0] == prompts[1])


def _with_lines(template: str, lines: str) -> str:
    """The template with lines at its head, after those that it was saved with: the last value of a name holds."""
    known = re.match(rf"(?:{re.escape(_OURS)}.*\n)*", template)
    place = known.end() if known else 0
    return template[:place] + lines + template[place:]


def _literal(name: str, value: object) -> str:
    """A value as Jinja writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(name, str(k))}: {_literal(name, v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(name, item) for item in value) + "]"
    if value is None:
        return "none"
    if isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False)
    raise ModelError(
        f"Expected a text, number, truth value, list or mapping in model.chat_template_kwargs.{name}, found "
        f"{type(value).__name__}. Write it as a text."
    )
