"""CLI: one command for each question, one per stage of a run, and what is done with a finished one.

Nothing heavy is imported before a command runs, so `--help` answers at once. Importing a file of commands puts them
under the app, in the order in which `--help` lists them.
"""

from securetune.cli import doors, flow, results, start
from securetune.cli.app import app, entry

__all__ = ["app", "doors", "entry", "flow", "results", "start"]
