"""Progress: what a user sees while work goes on: one look of every progress bar, and nothing of the libraries'."""

import logging
import warnings

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar(*, disable: bool = False) -> Progress:
    """A bar that shows what is done, how much of it and the time left, and goes away at the end."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        transient=True,
        disable=disable,
    )


def quiet_libraries() -> None:
    """Keep the libraries' notices and progress bars out of the way, unless debug logs are on; ours stay."""
    import datasets
    import transformers

    if logging.getLogger().level > logging.DEBUG:
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        datasets.disable_progress_bars()
