"""Opening a pool: one of three kinds.

executor given           --> ExecutorPool: that executor
workers=1, no time limit --> ThisProcess: no further process
else                     --> Supervisor: supervised worker processes
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_limits

from search.pool.builders import check_build
from search.pool.executors import ExecutorPool
from search.pool.supervision import supervised
from search.pool.tasks import Chunk, Handler, Pool, Work
from search.trials.fits import Build, Problem
from tinygrad_lab.checks import is_finite_number, is_positive_integer


@contextmanager
def open_pool(
    problem: Problem, workers: int | None = None, executor: Executor | None = None, time_limit: float | None = None
) -> Iterator[Pool]:
    """Open a pool of workers, on which the block runs chunks of fits.

    Parameters
    ----------
    problem : Problem
        What all fits share. Each worker process gets it once; with `executor` it is sent with each chunk.
    workers : int, optional
        Number of processes, by default one for each processor. One means this process.
    executor : concurrent.futures.Executor, optional
        Used instead of worker processes. It is not shut down.
    time_limit : float, optional
        Seconds that a fit may take. Then its worker is killed, and the fit is tried again, up to three times in all. With a
        limit, even one worker is a separate process.

    Raises
    ------
    SearchError
        If a worker process dies at its start, or the executor is broken.
    TypeError
        If the builder or a score has to be sent to another process and cannot.
    ValueError
        If `workers` is no integer of at least 1, or `time_limit` is no positive number or is given with an executor.

    Notes
    -----
    An interrupt (Ctrl-C) kills the worker processes. On an executor, it cancels the chunks that have not started.
    """
    count = worker_count(workers)
    build, *scores = problem.functions
    check_pool(build, scores, workers, executor, time_limit)
    with threadpool_limits(limits=1), _told_in_one_line():
        if executor is not None:
            yield ExecutorPool(executor, problem, 2 * count)
        elif is_this_process(workers, executor, time_limit):
            yield ThisProcess(problem)
        else:
            with supervised(problem, count, time_limit) as supervisor:
                yield supervisor


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """Replace the traceback of a Ctrl-C, which leads through the pool to wherever a fit was."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("a search keeps what had finished in its store, run it again to go on") from None


class ThisProcess:
    """Runs chunks in this process. A fit that kills it ends the search, so there is nothing to try again.

    Parameters
    ----------
    problem : Problem
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def run(self, work: Work, chunks: Iterable[Chunk], handle: Handler, retry: bool = True) -> None:  # noqa: ARG002
        """Do some work on each chunk, as `Pool` says."""
        for chunk in chunks:
            for position, result in work(self._problem, chunk):
                handle(chunk[position], result)


def check_pool(
    build: Build,
    scores: Iterable[Callable[..., Any]],
    workers: int | None,
    executor: Executor | None,
    time_limit: float | None,
) -> None:
    """Raise a TypeError or a ValueError if `open_pool` would refuse these. An executor tells itself what it cannot send."""
    worker_count(workers)
    check_time_limit(time_limit, executor)
    is_sent = executor is None and not is_this_process(workers, executor, time_limit)
    check_build(build, is_sent)
    for score in scores:
        check_build(score, is_sent, role="scoring")


def is_this_process(workers: int | None, executor: Executor | None, time_limit: float | None) -> bool:
    """Whether the fits run in this process, so that nothing needs to be sent.

    Examples
    --------
    >>> is_this_process(1, None, None), is_this_process(2, None, None), is_this_process(1, None, time_limit=60.0)
    (True, False, False)
    """
    return executor is None and worker_count(workers) == 1 and time_limit is None


def worker_count(workers: int | None) -> int:
    """Return the number of workers: the given one, or the number of processors that this process may use.

    Examples
    --------
    >>> worker_count(2)
    2
    >>> worker_count(0)
    Traceback (most recent call last):
    ValueError: workers=0, expected an integer of at least 1, or None for one for each processor
    """
    if workers is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not is_positive_integer(workers):
        raise ValueError(f"workers={workers!r}, expected an integer of at least 1, or None for one for each processor")
    return workers


def check_time_limit(time_limit: float | None, executor: Executor | None) -> None:
    """Raise a ValueError if this is no time limit, or one that cannot be enforced.

    Examples
    --------
    >>> check_time_limit(0.0, executor=None)
    Traceback (most recent call last):
    ValueError: time_limit=0.0, expected a number of seconds above 0, or None for no limit
    """
    if time_limit is None:
        return
    if not is_finite_number(time_limit) or time_limit <= 0.0:
        raise ValueError(f"time_limit={time_limit!r}, expected a number of seconds above 0, or None for no limit")
    if executor is not None:
        raise ValueError(
            f"time_limit={time_limit!r} with an executor, whose workers cannot be stopped from here; expected one of the two"
        )
