"""Progress: what a user sees while work goes on; one look of every progress bar."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar(*, disable: bool = False) -> Progress:
    """A bar that shows what is done, how much of it and the time left, and goes away at the end.

    It is drawn beside the results, on the standard error, and only where somebody looks: a pipe, a file or the log of a
    CI would keep every one of its steps, also where FORCE_COLOR asks for colours.
    """
    console = Console(stderr=True)
    is_seen = console.is_jupyter or console.file.isatty()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=disable or not is_seen,
    )
