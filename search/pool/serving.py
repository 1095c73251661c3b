"""Serving: what a worker process does, from its start until it is told to end or its parent has ended.

parent:  problem,  (work, chunk),                       (work, chunk), ...  None
           |          |                                    |                 |
worker: ready      idle  (position, packed) ... (position, packed)  idle        the end
                or unfit, if the problem cannot be loaded
"""

import os
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

from threadpoolctl import threadpool_limits

from search.errors import one_line
from search.pool.tasks import pack


def serve(connection: Connection, lifeline: Connection) -> None:
    """Work on the chunks that come in, and send each result as it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for Windows
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    with suppress(EOFError, ConnectionError):  # the parent has ended
        # Only now is the problem sent: a parent cannot hang on a worker that never gets here.
        connection.send(("ready",))
        try:
            problem = connection.recv()
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
    lifeline.poll(None)  # nothing is ever sent: it returns when the other end is closed
    os._exit(1)
