"""What do help texts and shells offer, and does it work?"""

import os
import shlex
import subprocess
import sys

import pytest
import typer

from securetune.cli import app
from securetune.defences import DEFENCES

GROUP = typer.main.get_command(app)


@pytest.mark.parametrize("name", GROUP.commands)
def test_help_ends_with_an_example_that_the_command_takes(name):
    command = GROUP.commands[name]
    start, _, example = (command.epilog or "").partition(": ")
    program, called, *words = shlex.split(example)
    assert (start, program, called) == ("Example", "securetune", name)
    command.make_context(name, words)  # fails for an option or a value that the command does not know


def completed(*words):
    """What a shell offers for the last word."""
    asked = {"_SECURETUNE_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(["securetune", *words])}
    code = "import sys; sys.argv = ['securetune']; from securetune.cli import entry; entry()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked, "COMP_CWORD": str(len(words))},
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    return done.stdout.split()


def test_names_of_defences_are_completed_after_a_plus_too():
    assert completed("tune", "m", "rows", "--defence", "safe_") == [n for n in DEFENCES.names() if n[:5] == "safe_"]
    assert completed("tune", "m", "rows", "--defence", "ema+ml_") == ["ema+ml_lr"]


def test_kinds_and_shipped_names_are_completed():
    assert completed("list", "s") == ["searches", "signals"]
    assert "llama-2-7b-chat" in completed("new", "llama-2")


def test_commands_are_completed_without_anything_heavy():
    assert completed("prefl") == ["preflight"]
    code = (
        "import sys; from securetune.cli.options import defences_begun, kinds_to_list, shipped_names;"
        "assert defences_begun('e') and kinds_to_list('s') and shipped_names('l');"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
