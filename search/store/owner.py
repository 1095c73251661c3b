"""The owner of a store: the one process that may write it, by a lock that the operating system drops when it dies."""

import os
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path


class InUseError(Exception):
    """Another process, or another Store of this one, owns the store; the message says which."""


@contextmanager
def owning(file: Path) -> Iterator[None]:
    """Own the store for the time of the block.

    The lock is SQLite's own, the same on every system: that of a transaction that never ends, on a database beside the store
    that says who the owner is and is removed at the end. A process that is forked from this one does not inherit it.

    Raises
    ------
    InUseError
        At once, if there is an owner.
    OSError, sqlite3.Error
        If the lock cannot be made.
    """
    lock = Path(f"{file}.lock")
    while True:
        lock.touch()
        before = _identity(lock)
        with closing(sqlite3.connect(lock, timeout=0, isolation_level=None)) as connection:
            _lock(connection)
            if before is None or before != _identity(lock):
                continue  # its last owner has removed it meanwhile, so that it locks nothing any more
            _write_name(connection)
            _lock(connection)
            if before != _identity(lock):
                continue
            try:
                yield
            finally:
                with suppress(OSError):  # Windows keeps a file that is open
                    lock.unlink()
            return


def owner_of(file: Path) -> str | None:
    """Return who owns the store now, None if nobody does.

    Who may not write the lock cannot find out whether its owner still lives, and gets the name with a "perhaps".

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Path(folder, "search.sqlite")
    ...     with owning(store):
    ...         owner = owner_of(store)
    ...     owner == this_process(), owner_of(store)
    (True, None)
    """
    lock = Path(f"{file}.lock")
    if not lock.exists():
        return None
    try:
        with closing(sqlite3.connect(lock, timeout=0, isolation_level=None)) as connection:
            if not os.access(lock, os.W_OK):  # SQLite would begin a transaction that locks nothing
                return f"perhaps {_name_of_owner(connection)}"
            _lock(connection)
    except InUseError as owner:
        return str(owner)
    return None


def this_process() -> str:
    """Return who this process is, for others to read.

    Examples
    --------
    >>> this_process()
    'process ... on ... (since ...)'
    """
    return f"process {os.getpid()} on {platform.node()} (since {datetime.now():%Y-%m-%d %H:%M:%S})"


def _lock(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise InUseError(_name_of_owner(connection)) from error
        raise


def _write_name(connection: sqlite3.Connection) -> None:
    """Write who this is, which ends the transaction."""
    connection.execute("CREATE TABLE IF NOT EXISTS owner (name TEXT)")
    connection.execute("DELETE FROM owner")
    connection.execute("INSERT INTO owner VALUES (?)", [this_process()])
    connection.execute("COMMIT")


def _name_of_owner(connection: sqlite3.Connection) -> str:
    connection.execute("PRAGMA busy_timeout = 500")  # the owner may be about to write its name
    try:
        row = connection.execute("SELECT name FROM owner").fetchone()
    except sqlite3.OperationalError:
        row = None
    return str(row[0]) if row else "another process"


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
