"""Executors: chunks of fits on any `concurrent.futures.Executor`, such as Dask's.

    chunks --two for each worker--> executor: work(problem, chunk), its results in a list --> handle(fit, result)

An exception in a fit becomes its outcome. So if a future raises, the cause is the executor: its worker died, or could not run
what it was sent.
"""

import os
import uuid
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from functools import partial

from threadpoolctl import threadpool_limits

from search.errors import SearchError, one_line
from search.pool.tasks import Chunk, Handler, Tasks, Work, pack, unpack
from search.trials.fits import Problem
from search.trials.surroundings import Surroundings, surroundings_of

Packed = list[tuple[int, bytes]]
TOKEN = uuid.uuid4().hex  # tells this process from one with the same number on another machine


class ExecutorPool:
    """Runs chunks on an executor, and does not shut it down.

    Parameters
    ----------
    executor : concurrent.futures.Executor
    problem : Problem
        Sent with each chunk.
    limit : int
        How many chunks may be submitted at the same time.
    """

    def __init__(self, executor: Executor, problem: Problem, limit: int) -> None:
        self._executor = executor
        self._problem = problem
        self._surroundings = surroundings_of(problem.functions)
        self._limit = limit

    def run(self, work: Work, chunks: Iterable[Chunk], handle: Handler, retry: bool = True) -> None:
        """Do some work on each chunk, as `Pool` says."""
        tasks = Tasks(chunks, handle, retry)
        running: dict[Future[Packed], Chunk] = {}
        try:
            while True:
                while len(running) < self._limit and (chunk := tasks.next(len(running))):
                    running[self._submit(work, chunk)] = chunk
                if not running:
                    return
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(ended, key=_has_failed):  # good results are handed over before an error ends this
                    _take(future, running.pop(future), tasks)
        finally:
            for future in running:
                future.cancel()

    def _submit(self, work: Work, chunk: Chunk) -> "Future[Packed]":
        # Dask runs equal calls only once, so a second try would return the first result. A unique name prevents this.
        call = partial(_work_elsewhere, uuid.uuid4().hex, _this_process(), self._surroundings)
        try:
            return self._executor.submit(call, work, self._problem, chunk)
        except BrokenExecutor as error:
            raise SearchError(
                f"the executor is broken, since a worker process died (killed, or out of memory): {type(error).__name__}; "
                "a search keeps what had finished in its store, run it again with another executor to go on"
            ) from error


def _take(future: "Future[Packed]", chunk: Chunk, tasks: Tasks) -> None:
    """Hand over the results of a chunk, or put its fits back if its worker died."""
    try:
        results = future.result()
    except Exception as error:
        why = one_line(error)
        if isinstance(error, BrokenExecutor) or _is_of_dask(error):
            tasks.lost(chunk, why)
            return
        if isinstance(error, SearchError):
            raise
        raise SearchError(
            f"the executor could not run a chunk of fits: {why}; a search keeps what had finished in its store, "
            "run it again to go on"
        ) from error
    for position, packed in results:
        tasks.handle(chunk[position], unpack(packed))


def _is_of_dask(error: Exception) -> bool:
    """Whether Dask says that a worker died, or fails itself to say how a call has ended, as it may after a worker died."""
    if type(error).__name__ == "KilledWorker":  # by its name, because Dask may not be installed
        return True
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    return (
        type(error) is ValueError
        and innermost is not None
        and innermost.tb_frame.f_globals.get("__name__") == "distributed.cfexecutor"
    )


def _has_failed(future: "Future[Packed]") -> bool:
    return future.cancelled() or future.exception() is not None


def _this_process() -> str:
    return f"{TOKEN} {os.getpid()}"


def _work_elsewhere(
    _name: str, started_in: str, surroundings: Surroundings, work: Work, problem: Problem, chunk: Chunk
) -> Packed:
    if started_in != _this_process():
        surroundings.check_in_worker(problem.functions)
    # If the executor runs in this process, the limit is already set. In another process, it stays set after the chunk.
    threadpool_limits(limits=1)
    return [(position, pack(result)) for position, result in work(problem, chunk)]
