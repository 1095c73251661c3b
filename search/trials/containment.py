"""Containment: what a user's code does to the process that runs it ends with the call.

with contained(): build(...)       Ctrl-C and exceptions pass; SystemExit and the like become an exception
                                   the working directory is restored; a forked copy of the process ends
"""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from search.errors import LeftError, one_line

Item = TypeVar("Item")
END = object()


@contextmanager
def contained() -> Iterator[None]:
    """Run a user's code in the block, such as a builder or a training.

    The working directory is restored, because relative paths of the search refer to it. If the code forks, and both processes
    come to the end of the block, the copy ends there: it would write to the same store, or answer on the same pipe.

    Raises
    ------
    LeftError
        Instead of a `BaseException` that is no `Exception`, unless it may be a Ctrl-C.

    Examples
    --------
    >>> with contained():
    ...     os.chdir("/")
    ...     raise SystemExit("no licence")
    Traceback (most recent call last):
    search.errors.LeftError: SystemExit: no licence
    """
    process, folder = os.getpid(), _working_directory()
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or _may_be_ctrl_c(error):
            raise
        raise LeftError(one_line(error)) from error
    finally:
        if os.getpid() != process:
            os.write(2, b"search: a builder or a training forked and returned twice; the copy of the process ends here\n")
            os._exit(1)
        if folder is not None and _working_directory() != folder:
            with suppress(OSError):
                os.chdir(folder)


def each_contained(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items; each is computed as in `contained`."""
    iterator = iter(items)
    while True:
        with contained():
            item = next(iterator, END)
        if item is END:
            return
        yield item  # type: ignore[misc]


def _may_be_ctrl_c(error: BaseException) -> bool:
    # Worker processes ignore the signal, so a KeyboardInterrupt there comes from the user's code.
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None
