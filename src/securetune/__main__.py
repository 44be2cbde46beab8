"""`python -m securetune` is the command line."""

from securetune.cli import entry

entry()
