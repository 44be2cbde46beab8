"""Trial: does a chat template that somebody else wrote come to an end, in time and in memory?

The libraries run templates in a sandbox that keeps them from files and code, and not from loops within loops or texts
without end. So a template is first tried out in a process of its own, with the limits of the system.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache

from securetune.errors import ModelError

_SECONDS = 5
"""Of the processor; a template takes a thousandth of one."""
_MEMORY = 1 << 30
"""Bytes; a template takes some thousand."""
_PATIENCE = 120
"""Seconds on the clock, on however busy a machine."""
_PROGRAM = """
import json, resource, sys
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock
from jinja2.sandbox import ImmutableSandboxedEnvironment

seconds, memory, template, names = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return CallBlock(self.call_method("same"), [], [], body).set_lineno(line)

    def same(self, caller):
        return caller()

def refuse(message):
    raise ValueError(message)

user, answer = {"role": "user", "content": "Is it so?"}, {"role": "assistant", "content": "Certainly so."}
turns = [[user], [user, answer], [{"role": "system", "content": "Be brief."}, user, answer, user]]
try:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value)
    environment.globals.update(raise_exception=refuse, strftime_now=lambda form: form[:99])
    compiled = environment.from_string(template)
except MemoryError:
    raise
except Exception:
    turns = []
for messages in turns:
    for answer_follows in (False, True):
        try:
            names["add_generation_prompt"] = answer_follows
            compiled.render(messages=messages, tools=None, documents=None, **names)
        except MemoryError:
            raise
        except Exception:
            pass  # a template may refuse a conversation: who renders for real says so
"""


def check_ends(path: str, template: str, names: Mapping[str, str]) -> None:
    """Make sure that a template renders short conversations, or refuses them, within limits.

    Args:
        path: the model's, for the message.
        template: in Jinja.
        names: texts that it may use, such as ``eos_token``.

    Raises:
        ModelError: it takes too long, or too much memory.
    """
    reason = _outcome(template, json.dumps(dict(names), sort_keys=True))
    if reason is not None:
        raise ModelError(
            f"Expected a chat template in {path!r} that is done in a moment, found that it {reason} on a conversation "
            "of four short turns. Look for loops within loops and texts that are repeated, or take the template of the "
            "model's publisher."
        )


@lru_cache(maxsize=64)
def _outcome(template: str, names: str) -> str | None:
    if os.name != "posix":
        return None  # the limits are those of POSIX
    given = json.dumps([_SECONDS, _MEMORY, template, json.loads(names)])
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROGRAM], input=given, capture_output=True, text=True, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        return f"takes longer than {_PATIENCE} s"
    if "MemoryError" in done.stderr:
        return f"takes more than {_MEMORY >> 30} GiB of memory"
    return f"takes more than {_SECONDS} s" if done.returncode < 0 else None
