"""Supervision: each worker process is started, timed, ended and replaced independently of the rest.

Supervisor --start, chunk--> Worker --messages--> results, and that it is idle
                               '-- dead, or too slow and killed --> its unfinished fits go back to the tasks
"""

import math
import multiprocessing
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from search.errors import SearchError
from search.pool.builders import check_main, check_may_start_processes
from search.pool.interrupts import interrupts_held_back
from search.pool.serving import serve
from search.pool.tasks import TRIES, Chunk, Handler, Tasks, Work, unpack
from search.trials.fits import Fit, Problem
from search.trials.surroundings import Surroundings, surroundings_of

POLL_SECONDS = 1.0  # a child of a dead worker can keep its pipe open, so the pipe alone does not show the death
GRACE_SECONDS = 5.0  # for a process to end after it was told to

_spawn = multiprocessing.get_context("spawn")


@contextmanager
def supervised(problem: Problem, count: int, time_limit: float | None) -> Iterator["Supervisor"]:
    """Yield a supervisor whose worker processes end with the block, even if an exception ends it."""
    check_main(problem.build)
    check_may_start_processes()
    # The workers wait on the other end of this pipe. When this process ends, it is closed, and they end too.
    watched, lifeline = _spawn.Pipe(duplex=False)
    supervisor = Supervisor(problem, count, time_limit, watched)
    try:
        yield supervisor
        supervisor.dismiss()
    finally:
        with interrupts_held_back():  # a second Ctrl-C would leave workers behind
            supervisor.kill()
            lifeline.close()
            watched.close()


class Worker:
    """A worker process, as its parent sees it.

    Parameters
    ----------
    watched : Connection
        Is closed when the parent ends.
    time_limit : float
        Seconds that one fit may take.
    """

    def __init__(self, watched: Connection, time_limit: float) -> None:
        self.connection, theirs = _spawn.Pipe()
        self.process = _spawn.Process(target=serve, args=(theirs, watched))
        self.process.start()
        theirs.close()
        self.has_loaded = False  # whether it has loaded the problem
        self.chunk: Chunk = ()  # empty: it has nothing to do
        self.is_working = False  # whether the chunk has been sent
        self.has_hung_up = False
        self._time_limit = time_limit
        self._work: Work | None = None
        self._pending: set[int] = set()  # positions in the chunk whose results have not come
        self._last_heard = 0.0

    def give(self, work: Work, chunk: Chunk) -> None:
        """Give it a chunk, which is sent as soon as it has loaded the problem."""
        self._work = work
        self.chunk = chunk
        self._pending = set(range(len(chunk)))
        if self.has_loaded:
            self._send_chunk()

    def send_problem(self, problem: Problem, surroundings: Surroundings) -> None:
        """Send it the problem, once it is ready for it."""
        with suppress(OSError):  # it has died, which the supervisor will notice
            self.connection.send((problem, surroundings))

    def became_idle(self) -> None:
        """Take note that it has loaded the problem, or else that it has finished its chunk."""
        if self.has_loaded:
            self.chunk = ()
            self.is_working = False
        else:
            self.has_loaded = True
            self._send_chunk()

    def has_finished(self, position: int) -> Fit:
        """Take note that the result of a fit has come, and return that fit."""
        self._pending.discard(position)
        self._last_heard = time.monotonic()
        return self.chunk[position]

    def messages(self) -> Iterator[Any]:
        """Yield the messages that have arrived."""
        try:
            while self.connection.poll():
                yield self.connection.recv()
        except (EOFError, OSError):
            self.has_hung_up = True

    @property
    def seconds(self) -> float:
        """The time since its last result."""
        return time.monotonic() - self._last_heard

    @property
    def unfinished(self) -> list[Fit]:
        """The fits of its chunk whose results have not come."""
        return [self.chunk[position] for position in sorted(self._pending)]

    @property
    def seconds_left(self) -> float:
        """The time until it exceeds its time limit.

        Fits that are trained together end together. So the limit is that of all unfinished fits, and restarts with each
        result. For a fit that runs alone it is exact.
        """
        return self._time_limit * max(1, len(self._pending)) - self.seconds if self.is_working else math.inf

    def _send_chunk(self) -> None:
        with suppress(OSError):  # it has died, which the supervisor will notice
            self.connection.send((self._work, self.chunk))
            self.is_working = True
            self._last_heard = time.monotonic()


class Supervisor:
    """Runs chunks on worker processes. It starts no more of them than there are chunks.

    Parameters
    ----------
    problem : Problem
    count : int
        Maximum number of workers.
    time_limit : float or None
        Seconds that one fit may take.
    watched : Connection
        Is closed when this process ends.
    """

    def __init__(self, problem: Problem, count: int, time_limit: float | None, watched: Connection) -> None:
        self._problem = problem
        self._surroundings = surroundings_of(problem.functions)
        self._count = count
        self._time_limit = math.inf if time_limit is None else time_limit
        self._watched = watched
        self._workers: list[Worker] = []
        self._failed_starts = 0  # since the last successful start

    def run(self, work: Work, chunks: Iterable[Chunk], handle: Handler, retry: bool = True) -> None:
        """Do some work on each chunk, as `Pool` says."""
        tasks = Tasks(chunks, handle, retry)
        while True:
            self._hand_out(work, tasks)
            busy = [worker for worker in self._workers if worker.chunk]
            if not busy:
                return
            patience = min(POLL_SECONDS, *(max(0.0, worker.seconds_left) for worker in busy))
            wait([worker.connection for worker in busy], patience)
            for worker in busy:
                self._receive(worker, tasks)
                if worker.has_hung_up or not worker.process.is_alive():
                    self._remove(worker, tasks)
                elif worker.seconds_left <= 0.0:
                    worker.process.kill()
                    self._remove(worker, tasks, late=True)

    def dismiss(self) -> None:
        """Tell the workers to end, and wait for them."""
        for worker in self._workers:
            with suppress(OSError):
                worker.connection.send(None)
        end = time.monotonic() + GRACE_SECONDS
        for worker in self._workers:
            worker.process.join(max(0.0, end - time.monotonic()))

    def kill(self) -> None:
        """Kill the workers."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join(GRACE_SECONDS)
            worker.connection.close()

    def _hand_out(self, work: Work, tasks: Tasks) -> None:
        idle = [worker for worker in self._workers if not worker.chunk]
        n_running = len(self._workers) - len(idle)
        while n_running < self._count and (chunk := tasks.next(n_running)):
            worker = idle.pop() if idle else self._start_worker()
            worker.give(work, chunk)
            n_running += 1

    def _start_worker(self) -> Worker:
        with interrupts_held_back():
            worker = Worker(self._watched, self._time_limit)
            self._workers.append(worker)
        return worker

    def _receive(self, worker: Worker, tasks: Tasks) -> None:
        """React to the messages of a worker."""
        for message in worker.messages():
            match message:
                case ("ready",):
                    worker.send_problem(self._problem, self._surroundings)
                case ("other", why):
                    raise SearchError(why)
                case ("unfit", why):
                    raise SearchError(f"a worker process cannot load the search: {why}; its modules must be importable there")
                case ("idle",):
                    if not worker.has_loaded:
                        self._failed_starts = 0
                    worker.became_idle()
                case ("result", position, packed):
                    tasks.handle(worker.has_finished(position), unpack(packed))

    def _remove(self, worker: Worker, tasks: Tasks, late: bool = False) -> None:
        """Remove a dead worker. Its results are used, and its unfinished fits are put back."""
        worker.process.join(GRACE_SECONDS)
        worker.process.kill()
        worker.process.join()
        self._receive(worker, tasks)
        self._workers.remove(worker)
        worker.connection.close()
        exit_code = worker.process.exitcode or 0
        cause = f"no result within {self._time_limit:g} s" if late else _cause_of_death(exit_code)
        if not worker.has_loaded:
            self._failed_starts += 1
            if exit_code >= 0 or self._failed_starts == TRIES:  # a process that ended by itself would do so again
                raise SearchError(
                    f"a worker process died at its start: {cause} (the script runs the search outside "
                    "`if __name__ == '__main__':`, or its modules cannot be imported twice); a search keeps what had "
                    "finished in its store, run it again to go on"
                )
        if worker.is_working:
            tasks.lost(worker.unfinished, cause, worker.seconds, is_certain=late)
        elif worker.chunk:
            tasks.put_back(worker.chunk)


def _cause_of_death(exit_code: int) -> str:
    """Return an exit code in words.

    Examples
    --------
    >>> _cause_of_death(-9), _cause_of_death(7)
    ('killed by signal 9 (SIGKILL)', 'exit code 7')
    """
    if exit_code >= 0:
        return f"exit code {exit_code}"
    with suppress(ValueError):  # a signal without a name
        return f"killed by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"killed by signal {-exit_code}"
