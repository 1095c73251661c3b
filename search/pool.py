"""The pool: runs chunks of fits on worker processes, or on any executor, and hands back their outcomes as they end.

    chunks --a few at a time--> executor: work(problem, chunk) --as they end--> handle(chunk, result), in the caller

The workers of the default pool are spawned, get the problem once each, use one BLAS thread each, and live no longer
than the process that started them, however that one ends.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from search.errors import SearchError
from search.fits import Build, Fit, Problem
from tinygrad_lab.checks import is_positive_integer

Chunk = tuple[Fit, ...]
Work = Callable[[Problem, Chunk], Iterable[tuple[int, Any]]]
Handler = Callable[[Fit, Any], None]
Submit = Callable[[Work, Chunk], "Future[Any]"]


class Run(Protocol):
    """How an open pool is used."""

    def __call__(self, work: Work, chunks: Iterable[Chunk], handle: Handler) -> None:
        """Do some work on each chunk, and hand over what it yields.

        Parameters
        ----------
        work : callable
            ``work(problem, chunk)``, a function at the top level of a module, yields places in the chunk and results.
        chunks : iterable of tuple of Fit
            Not more than two chunks per worker are drawn from it ahead of their results.
        handle : callable
            Called in this process with each fit and its result, in the order in which they end.
        """
        ...


@contextmanager
def open_pool(problem: Problem, workers: int | None = None, executor: Executor | None = None) -> Iterator[Run]:
    """Open a pool of workers; its block runs chunks of fits on them.

    Parameters
    ----------
    problem : Problem
        What all the fits share. A worker of the default pool gets it once; with `executor` it goes with each chunk.
    workers : int, optional
        Number of processes, by default one for each processor. One means this process, without a pool.
    executor : concurrent.futures.Executor, optional
        Does the work in place of the default pool. It is not shut down.

    Raises
    ------
    SearchError
        If a worker process dies, for instance because it is killed.
    TypeError
        If `problem.build` cannot be sent to another process.
    ValueError
        If `workers` is not an integer of at least 1.

    Notes
    -----
    When this is interrupted (Ctrl-C), the worker processes of the default pool end at once, or as soon as they have
    started; on an executor of one's own the chunks that wait are cancelled.
    """
    count = worker_count(workers)
    check_build(problem.build)

    def run_here(work: Work, chunks: Iterable[Chunk], handle: Handler) -> None:
        for chunk in chunks:
            for place, result in work(problem, chunk):
                handle(chunk[place], result)

    def run_on(submit: Submit) -> Run:
        return lambda work, chunks, handle: _run_bounded(partial(submit, work), chunks, handle, 2 * count)

    try:
        with threadpool_limits(limits=1):
            if executor is not None:
                yield run_on(lambda work, chunk: executor.submit(_work_elsewhere, work, problem, chunk))
            elif count == 1:
                yield run_here
            else:
                with _process_pool(problem, count) as pool:
                    yield run_on(lambda work, chunk: _submit_to_worker(pool, work, chunk))
    except BrokenExecutor as error:
        raise SearchError(
            "a worker process died (killed, out of memory, or the script runs the search outside "
            "`if __name__ == '__main__':`); a search keeps what had finished in its store, run it again to go on"
        ) from error


def worker_count(workers: int | None) -> int:
    """Return the number of workers: the one given, or that of the processors which this process may use.

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


def check_build(build: Build) -> None:
    """Raise a TypeError if `build` cannot be sent to another process.

    Examples
    --------
    >>> check_build(lambda configuration, rng: None)
    Traceback (most recent call last):
    TypeError: build=<lambda> cannot be sent to a worker process, expected a function at the top level of a module
    """
    name = _name(build)
    if not callable(build):
        raise TypeError(f"build={name} is not callable, expected a function of a configuration and a generator")
    try:
        pickle.dumps(build)
    except Exception as error:
        raise TypeError(
            f"build={name} cannot be sent to a worker process, expected a function at the top level of a module"
        ) from error


def _check_main(build: Build) -> None:
    """Raise a SearchError if spawned workers, which import the main program from its file, would find none."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file == "<stdin>" or (file is None and getattr(build, "__module__", "") == "__main__"):
        raise SearchError(
            f"build={_name(build)} was typed into an interactive session, where worker processes cannot find it; "
            "put it and the search into a file, or give workers=1"
        )


def _name(build: Build) -> str:
    return str(getattr(build, "__qualname__", repr(build)))


def _run_bounded(submit: Callable[[Chunk], "Future[Any]"], chunks: Iterable[Chunk], handle: Handler, limit: int) -> None:
    """Keep up to `limit` chunks submitted until all have ended."""
    waiting = iter(chunks)
    running: dict[Future[Any], Chunk] = {}
    try:
        while True:
            for chunk in islice(waiting, limit - len(running)):
                running[submit(chunk)] = chunk
            if not running:
                return
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(ended, key=_has_failed):  # what is good is handed over before an error ends this
                chunk = running.pop(future)
                for place, result in future.result():
                    handle(chunk[place], result)
    finally:
        for future in running:
            future.cancel()


def _has_failed(future: Future[Any]) -> bool:
    return future.exception() is not None


def _work_elsewhere(work: Work, problem: Problem, chunk: Chunk) -> Any:
    """Do some work on somebody's executor."""
    # In this process the limit is already in force and changes nothing; in another one it stays.
    threadpool_limits(limits=1)
    return list(work(problem, chunk))


@contextmanager
def _process_pool(problem: Problem, workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool whose processes end with the block, finished or not."""
    _check_main(problem.build)
    context = multiprocessing.get_context("spawn")
    # The workers watch the other end of this pipe. It closes here, or with this process, and then they end.
    watched, lifeline = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (problem, watched))
    try:
        yield pool
        pool.shutdown()
    finally:
        with _interrupts_held_back():  # a second Ctrl-C would leave workers behind that are just starting
            lifeline.close()
            pool.shutdown(cancel_futures=True)
            watched.close()


def _submit_to_worker(pool: ProcessPoolExecutor, work: Work, chunk: Chunk) -> "Future[Any]":
    with _interrupts_held_back():  # this may start a worker
        return pool.submit(_work_in_worker, work, chunk)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the block ends; a process that is started in it never sees one.

    In a terminal Ctrl-C goes to the workers too. It is for the parent, which then closes the lifeline.
    """
    held_back = []
    handler = signal.getsignal(signal.SIGINT)
    # Python runs handlers in the main thread, whichever thread the system chose for the signal.
    is_ours = threading.current_thread() is threading.main_thread() and handler is not None
    if is_ours:
        signal.signal(signal.SIGINT, lambda *_: held_back.append(True))
    # A new process inherits what this thread blocks. Windows has no such thing.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if is_ours:
            signal.signal(signal.SIGINT, handler)
        if held_back:
            signal.raise_signal(signal.SIGINT)


# A worker process has one problem for life. The pool's interface leaves no other place for it.
_problem: Problem


def _start_worker(problem: Problem, watched: Connection) -> None:
    global _problem
    _problem = problem
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for Windows
    threading.Thread(target=_end_with_parent, args=(watched,), daemon=True).start()
    threadpool_limits(limits=1)


def _end_with_parent(watched: Connection) -> None:
    watched.poll(None)  # nothing is ever sent: it returns when the other end is closed
    os._exit(1)


def _work_in_worker(work: Work, chunk: Chunk) -> Any:
    return list(work(_problem, chunk))
