"""Serving: what a worker process does, from its start until its parent tells it to end, or has ended itself.

parent           worker
                 "ready"
problem          "idle", or "unfit" if the problem cannot be loaded, or "other" if it reads other values here
(work, chunk)    "result", position, packed result; for each fit
                 "idle"
None             ends
"""

import os
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

from threadpoolctl import threadpool_limits

from search.errors import SearchError, one_line
from search.pool.tasks import pack


def serve(connection: Connection, lifeline: Connection) -> None:
    """Work on the chunks that arrive, and send each result as it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for Windows; on other systems the parent has blocked the signal
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    with suppress(EOFError, ConnectionError):  # the parent has ended
        # The parent sends the problem only after this message, so it cannot hang if a worker never gets here.
        connection.send(("ready",))
        try:
            problem, surroundings = connection.recv()
            surroundings.check_in_worker(problem.functions)
        except SearchError as error:
            connection.send(("other", str(error)))
            return
        except Exception as error:
            connection.send(("unfit", one_line(error)))
            return
        threadpool_limits(limits=1)  # of all libraries that the problem's modules have loaded
        connection.send(("idle",))
        while (task := connection.recv()) is not None:
            work, chunk = task
            for position, result in work(problem, chunk):
                connection.send(("result", position, pack(result)))
            connection.send(("idle",))


def _end_with_parent(lifeline: Connection) -> None:
    lifeline.poll(None)  # nothing is ever sent, so this returns when the other end is closed
    os._exit(1)
