"""Interrupts: Ctrl-C held back where it would leave a process behind that is just being started or ended."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the block ends; a process that is started in it never sees one.

    In a terminal Ctrl-C goes to the workers too. It is for the parent, which then ends them.
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
