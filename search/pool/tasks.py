"""Tasks: the chunks that are still to be run, and the fits to be tried again because their worker died.

chunks --next--> worker --(position, packed result)--> unpacked --> handle
                   '--unfinished fits when it died--> lost --> next, alone; the third time: Outcome("crashed")
"""

import pickle
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from search.errors import one_line
from search.trials.fits import Fit, Outcome, Problem

TRIES = 3  # a fit is reported as crashed when its worker has died so often

Chunk = tuple[Fit, ...]
Work = Callable[[Problem, Chunk], Iterable[tuple[int, Any]]]
Handler = Callable[[Fit, Any], None]


class Pool(Protocol):
    """Workers that are ready to run chunks of fits."""

    def run(self, work: Work, chunks: Iterable[Chunk], handle: Handler, retry: bool = True) -> None:
        """Do some work on each chunk, and hand over its results.

        Parameters
        ----------
        work : callable
            ``work(problem, chunk)`` yields positions in the chunk with results. A function at the top level of a module.
        chunks : iterable of tuple of Fit
            The next chunk is taken when a worker is free for it. An executor gets two chunks for each worker at a time.
        handle : callable
            Called in this process with each fit and its result, in the order in which they end.
        retry : bool, default=True
            Whether a fit whose worker died is tried again, alone, and after three tries handed over as an outcome of status
            ``"crashed"``. If not, the fit has no result. A forecast uses this, because it needs only some results.
        """
        ...


class Tasks:
    """The chunks that are still to be run.

    Parameters
    ----------
    chunks : iterable of tuple of Fit
    handle : callable
        Called with each result.
    retry : bool
        Whether lost fits are tried again.

    Examples
    --------
    >>> import numpy as np
    >>> fit = Fit({"width": 5}, 0, np.random.SeedSequence(0))
    >>> tasks = Tasks([(fit, fit)], lambda fit, outcome: print(outcome.status, "-", outcome.reason))
    >>> len(tasks.next(n_running=0))
    2
    >>> tasks.lost([fit], "exit code 7")
    >>> len(tasks.next(n_running=1))
    1
    >>> tasks.lost([fit], "exit code 7")
    >>> tasks.next(n_running=1)
    >>> len(tasks.next(n_running=0))
    1
    >>> tasks.lost([fit], "exit code 7")
    crashed - its worker died 3 times: exit code 7
    """

    def __init__(self, chunks: Iterable[Chunk], handle: Handler, retry: bool = True) -> None:
        self.handle = handle
        self.retry = retry
        self._chunks = iter(chunks)
        self._first: deque[Chunk] = deque()
        self._last: deque[Chunk] = deque()
        self._deaths: Counter[Fit] = Counter()

    def next(self, n_running: int) -> Chunk | None:
        """Return the next chunk that may run beside `n_running` chunks; None if there is none."""
        if self._first:
            return self._first.popleft()
        if chunk := next(self._chunks, None):
            return chunk
        return self._last.popleft() if self._last and not n_running else None

    def put_back(self, chunk: Chunk) -> None:
        """Put back a chunk that no worker has started."""
        self._first.appendleft(chunk)

    def lost(self, fits: Iterable[Fit], cause: str, seconds: float = 0.0, is_certain: bool = False) -> None:
        """Put back the fits that were unfinished when their worker died.

        Parameters
        ----------
        fits : iterable of Fit
        cause : str
            Of its death.
        seconds : float, default=0.0
            Since its last result.
        is_certain : bool, default=False
            Whether these fits caused it for certain.
        """
        for fit in fits if self.retry else ():
            self._deaths[fit] += 1
            if self._deaths[fit] == TRIES:
                self.handle(fit, Outcome("crashed", seconds=seconds, reason=f"its worker died {TRIES} times: {cause}"))
            elif self._deaths[fit] == TRIES - 1 and not is_certain:
                self._last.append((fit,))
            else:
                self._first.append((fit,))


def pack(result: Any) -> bytes:
    """Return a result as bytes to be sent; if it cannot be pickled, a failed outcome that says why.

    Examples
    --------
    >>> unpack(pack(lambda: None)).status
    'failed'
    """
    try:
        return pickle.dumps(result)
    except Exception as error:
        return pickle.dumps(_not_sent(error))


def unpack(packed: bytes) -> Any:
    """Return the result that was packed; if it cannot be unpickled, a failed outcome that says why."""
    try:
        return pickle.loads(packed)
    except Exception as error:
        return _not_sent(error)


def _not_sent(error: Exception) -> Outcome:
    return Outcome("failed", reason=f"its result cannot be sent from a worker process: {one_line(error)}")
