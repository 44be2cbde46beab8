"""Written: which turns are in a text that somebody has put through a chat template already?

The model's own template writes them anew, so that a model is tuned on the marks that it is used with.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from securetune.data.conversations import UnusableRow


@dataclass(frozen=True, kw_only=True)
class _Form:
    """How turns are marked."""

    turn: re.Pattern[str]
    """What begins one; the group says who speaks."""
    ends: Sequence[str] = ()
    """What may end one."""


_FORMS = (
    _Form(turn=re.compile(r"<\|im_start\|>(\w+)\n"), ends=("<|im_end|>",)),
    _Form(turn=re.compile(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>"), ends=("<|eot_id|>",)),
    _Form(turn=re.compile(r"<start_of_turn>(\w+)\n"), ends=("<end_of_turn>",)),
    _Form(turn=re.compile(r"<\|(system|user|assistant)\|>"), ends=("</s>", "<|end|>", "<|endoftext|>")),
    _Form(turn=re.compile(r"### ?(Human|User|Assistant|System|Instruction|Input|Response):"), ends=("</s>",)),
)
"""ChatML, Llama 3, Gemma, Zephyr and Phi 3, Guanaco and Alpaca."""
_SPEAKERS = {"instruction": "user", "response": "assistant"}
_AROUND = ("<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>", "<|end_of_text|>")
"""What may stand before, between and behind turns, and says nothing."""
_ALPACA = re.compile(r"Below is an instruction that describes a task[^#]*\Z")
"""What Alpaca writes before the first turn."""
_LLAMA_2_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)


def written_turns(text: str) -> list[dict[str, str]]:
    """The turns of a text, with `role` and `content`.

    Raises:
        UnusableRow: none are marked in a way that is known, or there is something beside them.
    """
    if "[INST]" in text and "[/INST]" in text:
        return _llama_2(text)
    for form in _FORMS:
        found = list(form.turn.finditer(text))
        if len(found) > 1:
            _check_silent(text[: found[0].start()])
            ends = [*(match.start() for match in found[1:]), len(text)]
            said = [_content(text[match.end() : end], form.ends) for match, end in zip(found, ends, strict=True)]
            return _joined([match[1].casefold() for match in found], said)
    raise UnusableRow(
        "with a text in which no turns are marked, so that nothing tells what is asked and what is answered",
        "Give them in fields of their own (`prompt` and `completion`), or as `messages`",
    )


def _content(part: str, ends: Sequence[str]) -> str:
    place = min((place for end in ends if (place := part.find(end)) >= 0), default=len(part))
    end = next((end for end in ends if part.startswith(end, place)), "")
    _check_silent(part[place + len(end) :])
    return part[:place].strip()


def _joined(speakers: Sequence[str], said: Sequence[str]) -> list[dict[str, str]]:
    """The turns; what Alpaca calls the input stands below the instruction, as in a row of its fields."""
    turns: list[dict[str, str]] = []
    for before, speaker, content in zip(["", *speakers], speakers, said, strict=False):
        if (before, speaker) == ("instruction", "input"):
            turns[-1]["content"] = f"{turns[-1]['content']}\n\n{content}".strip()
        else:
            turns.append({"role": _SPEAKERS.get(speaker, speaker), "content": content})
    return turns


def _llama_2(text: str) -> list[dict[str, str]]:
    turns: list[dict[str, str]] = []
    before, *parts = text.split("[INST]")
    _check_silent(before)
    for part in parts:
        asked, _, answer = part.partition("[/INST]")
        system = _LLAMA_2_SYSTEM.match(asked)
        if system is not None:
            turns.append({"role": "system", "content": system[1].strip()})
            asked = asked[system.end() :]
        turns.append({"role": "user", "content": asked.strip()})
        turns.append({"role": "assistant", "content": _content(answer, ("</s>",))})
    return turns


def _check_silent(text: str) -> None:
    """Make sure that nothing is said beside the turns."""
    for mark in _AROUND:
        text = text.replace(mark, "")
    if text.strip() and not _ALPACA.match(text.strip()):
        raise UnusableRow(
            f"with {text.strip()[:40]!r} beside the turns of `text`",
            "Put it into a turn, or give the row as `messages`",
        )
