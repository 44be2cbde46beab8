"""Template: what does a chat template write around an answer, and how are its variables set?"""

import copy
import json
import re
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from securetune.base.places import expanded
from securetune.base.texts import read_object, read_text
from securetune.data.reasoning import MARKS, has_marks, opening_mark, skip_reasoning
from securetune.errors import ModelError

_ANSWER = "Certainly so"
_CLOSING = dict(MARKS)
_GOES_ON = (
    "{% set parts = rendered.rpartition(BEFORE) %}"
    "{% if add_generation_prompt or messages[-1]['role'] != 'assistant' or parts[2].startswith(OPENED) %}"
    "{{ rendered }}"
    "{% else %}"
    "{% set is_shown = CLOSING in parts[2] %}"
    "{% set said = parts[2] if is_shown else messages[-1]['content'] %}"
    "{% set before = said.partition(CLOSING)[0] %}"
    "{% if CLOSING in said and (MARK not in before or before.strip().startswith(MARK)) %}"
    "{% set answer = parts[2].partition(CLOSING)[2] if is_shown else parts[2] %}"
    "{{ parts[0] + parts[1] + OPENED + before.split(MARK)[-1].strip() + ENDS + answer.lstrip(BREAK) }}"
    "{% else %}"
    "{{ parts[0] + parts[1] + OPENED + ENDS + parts[2] }}"
    "{% endif %}{% endif %}"
)
"""Writes what a template has rendered such that an answer goes on from its prompt; names in capitals are filled in."""
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
    """Let a template that opens reasoning in every prompt go on from there before an answer that it is given.

    Templates like DeepSeek-R1's end a prompt with a mark that a whole conversation does not have, or has in another
    way: what is trained then goes on from another text than what is asked. The answer's own reasoning is written behind
    the mark, or none, and closed. Other templates stay as they are, and so do prompts.
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
    if not header or header not in whole:
        return
    closing, ends = _CLOSING[opening], skip_reasoning(prompt)[len(prompt) :]
    texts = {
        "BEFORE": header, "MARK": opening, "CLOSING": closing, "OPENED": opening + space, "ENDS": ends, "BREAK": "\n",
    }  # fmt: skip
    going_on = re.sub("|".join(texts), lambda name: _literal("", texts[name[0]]), _GOES_ON)
    tokenizer.chat_template = f"{{% set rendered %}}{template.removesuffix(chr(10))}{{% endset %}}{going_on}"


def stored_template(path: str) -> str | None:
    """The one chat template in a folder of a model or an adapter; None where there is none, or are several."""
    folder = expanded(path)
    if (folder / "chat_template.jinja").is_file():
        return read_text(folder / "chat_template.jinja", "a chat template", ModelError)
    settings = folder / "tokenizer_config.json"
    template = read_object(settings, ModelError).get("chat_template") if settings.is_file() else None
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
