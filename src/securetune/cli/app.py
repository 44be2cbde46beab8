"""App: what holds all commands together, and how does a failure of any of them end?"""

import errno
import itertools
import logging
import re
import sys
import traceback
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from securetune.base.machine import trouble
from securetune.base.terminal import LogFormatter
from securetune.cli.output import say
from securetune.errors import ConfigError, MachineError, SecuretuneError

NOT_DONE = 2
"""Exit code of whatever could not be done as it was asked for; typer's own for a wrong usage."""
UNFORESEEN = 70
"""Exit code of a fault of ours, as ``EX_SOFTWARE`` of sysexits.h."""
_NAMED_NOTHING = re.compile(r"--[^=]+=\s*")
"""An option and no value for it, in one word."""


class _Commands(TyperGroup):
    """The commands, whose failures are all told as ours where a caller or the machine is the cause."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command, and refuse empty words for it: an empty path would mean the folder where one stands.

        Raises:
            ConfigError: a word is empty.
        """
        if not ctx.resilient_parsing:  # completion looks at words that are not written out yet
            _check_words(args)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Raises:
            SecuretuneError: what went wrong.
        """
        try:
            return super().invoke(ctx)
        except SecuretuneError:
            raise
        except Exception as error:
            from pydantic import ValidationError  # here, so that `--help` stays quick

            if isinstance(error, ValidationError):
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"])) or "the top"
                raise ConfigError(
                    f"Expected values for {error.title}, found a problem at {place}: {first['msg']}. Correct it."
                ) from error
            is_closed = isinstance(error, OSError) and error.errno == errno.EPIPE  # who reads our output has enough
            if is_closed or (text := trouble(error)) is None:
                raise
            raise MachineError(text) from error


app = typer.Typer(
    cls=_Commands,
    help="Tune on your benign data, keep your model's safety, see the proof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")] = False,
) -> None:
    """Set up logging before any command."""
    if not debug:
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns on machines without a GPU
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])


def _check_words(words: list[str]) -> None:
    """Make sure that every word of a command line says something."""
    empty = [before for before, word in itertools.pairwise(words) if not word.strip()]
    empty += [word.rstrip(" =") for word in words if _NAMED_NOTHING.fullmatch(word)]
    if empty:
        raise ConfigError(
            f"Expected a value after {empty[0]}, found an empty one. Write it out; where a variable of the shell "
            "stands there, set it."
        )


def entry() -> None:
    """Console entry point: every failure becomes one message; what a caller or the machine causes has exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know less than UTF-8
    try:
        app()
    except SecuretuneError as error:
        _fail(f"Error: {error}", NOT_DONE)
    except Exception as error:
        _fail(
            f"Error: Expected this to work or to be refused, found {type(error).__name__}: {error}. This is a fault in "
            "securetune or in a library below it: run it again with --debug, as `securetune --debug COMMAND`, and "
            "report what it shows.",
            UNFORESEEN,
        )


def _fail(message: str, code: int) -> NoReturn:
    if "--debug" in sys.argv:
        say(traceback.format_exc(), err=True)
    say(message, fg="red", err=True)
    sys.exit(code)
