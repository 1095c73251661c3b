"""Tasks: the chunks that are yet to be run, and the fits to be tried again because a worker died of them.

chunks --next--> worker --(position, packed result)--> unpacked --> handle
                   '--what it left when it died--> lost --> next, alone; the third time: Outcome("crashed")
"""

import pickle
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from search.errors import one_line
from search.trials.fits import Fit, Outcome, Problem

TRIES = 3  # a fit that has cost so many workers their lives has crashed

Chunk = tuple[Fit, ...]
Work = Callable[[Problem, Chunk], Iterable[tuple[int, Any]]]
Handler = Callable[[Fit, Any], None]


class Pool(Protocol):
    """Workers that are ready to run chunks of fits."""

    def run(self, work: Work, chunks: Iterable[Chunk], handle: Handler, retry: bool = True) -> None:
        """Do some work on each chunk, and hand over what it yields.

        Parameters
        ----------
        work : callable
            ``work(problem, chunk)``, a function at the top level of a module, yields positions in the chunk and results.
        chunks : iterable of tuple of Fit
            A chunk is drawn when there is a worker for it; with an executor, two for each worker are under way.
        handle : callable
            Called in this process with each fit and its result, in the order in which they end.
        retry : bool, default=True
            Whether fits that were lost with their worker are tried again, alone, and after three tries handed over as
            an outcome of status ``"crashed"``. If not, they are left out, for work that only looks ahead.
        """
        ...


class Tasks:
    """What is left to do of some chunks.

    Parameters
    ----------
    chunks : iterable of tuple of Fit
    handle : callable
        Gets the results.
    retry : bool
        Whether fits that are lost are tried again.

    Examples
    --------
    >>> import numpy as np
    >>> fit = Fit({"width": 5}, 0, np.random.SeedSequence(0))
    >>> tasks = Tasks([(fit, fit)], lambda fit, outcome: print(outcome.status, "-", outcome.reason))
    >>> len(tasks.next(under_way=0))
    2
    >>> tasks.lost([fit], "exit code 7")
    >>> len(tasks.next(under_way=1))
    1
    >>> tasks.lost([fit], "exit code 7")
    >>> tasks.next(under_way=1)
    >>> len(tasks.next(under_way=0))
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

    def next(self, under_way: int) -> Chunk | None:
        """Return the next chunk, if there is one that can be run beside so many others."""
        if self._first:
            return self._first.popleft()
        if chunk := next(self._chunks, None):
            return chunk
        return self._last.popleft() if self._last and not under_way else None

    def put_back(self, chunk: Chunk) -> None:
        """Take back a chunk that no worker has begun."""
        self._first.appendleft(chunk)

    def lost(self, fits: Iterable[Fit], cause: str, seconds: float = 0.0, is_certain: bool = False) -> None:
        """Take back the fits that a worker left unfinished when it died.

        Parameters
        ----------
        fits : iterable of Fit
        cause : str
            Of its death.
        seconds : float, default=0.0
            Since its last result.
        is_certain : bool, default=False
            Whether no other fit can be to blame.
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
    """Return a result as bytes to be sent, or in its place a failed outcome that says why it cannot be sent.

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
    """Return the result that was packed; one that pickle wrote but cannot read is a failed outcome, too."""
    try:
        return pickle.loads(packed)
    except Exception as error:
        return _not_sent(error)


def _not_sent(error: Exception) -> Outcome:
    return Outcome("failed", reason=f"its result cannot be sent from a worker process: {one_line(error)}")
