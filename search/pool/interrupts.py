"""Interrupts: Ctrl-C is delayed while a process is started or ended, so that no process is left running."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Delay Ctrl-C until the block ends; a process that is started in the block never receives it.

    In a terminal, Ctrl-C is sent to the workers too. Only the parent should react, and end them.
    """
    held_back = []
    handler = signal.getsignal(signal.SIGINT)
    # Python runs signal handlers in the main thread, whichever thread receives the signal.
    is_ours = threading.current_thread() is threading.main_thread() and handler is not None
    if is_ours:
        signal.signal(signal.SIGINT, lambda *_: held_back.append(True))
    # A new process inherits the signals that this thread blocks. Windows cannot block signals.
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
