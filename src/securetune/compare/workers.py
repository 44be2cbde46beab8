"""Workers: where do a comparison's jobs run?

On this machine in processes of their own, or on a Dask cluster, whose client is an executor too.
"""

import importlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager

from securetune.compare.grid import CompareConfig
from securetune.errors import ConfigError

_CONNECTING = "10s"
"""How long a scheduler is waited for."""


def workers(config: CompareConfig) -> AbstractContextManager[Executor]:
    """What the jobs are given to.

    Raises:
        ConfigError: Dask is not installed, or there is no scheduler at the address.
    """
    return _processes(config) if config.executor == "processes" else _cluster(config)


@contextmanager
def _processes(config: CompareConfig) -> Iterator[Executor]:
    """Processes that start afresh, each with its share of threads."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(config.threads)
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(config.workers, mp_context=context, initializer=_end_with_parent) as pool:
            yield pool
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _end_with_parent() -> None:
    """Let this process end as soon as the one that started it has, however that ended; what is unfinished resumes."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _cluster(config: CompareConfig) -> Iterator[Executor]:
    """A Dask cluster; what a worker that ends has begun goes to another one, which goes on from the files."""
    try:
        distributed = importlib.import_module("distributed")
    except ImportError as error:
        raise ConfigError(
            "Expected Dask's `distributed` for `executor: dask`, found none. Install securetune[dask], or leave "
            "executor out."
        ) from error
    try:
        client = distributed.Client(config.address, timeout=_CONNECTING)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Expected a Dask scheduler at {config.address}, found: {error}. Start one with `dask scheduler`, and "
            "workers with `dask worker ADDRESS --nthreads 1`."
        ) from error
    with client, client.get_executor(pure=False) as executor:
        yield executor
