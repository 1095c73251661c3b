"""The owner of a store: the only process that may write it. Its lock is released by the operating system when it dies."""

import os
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path


class InUseError(Exception):
    """The store is owned by another process, or by another Store in this process; the message names the owner."""


@contextmanager
def owning(file: Path) -> Iterator[None]:
    """Own the store while the block runs.

    The lock is an SQLite transaction that stays open, so it works alike on every system. It is on a second database beside
    the store, which names the owner and is removed at the end. A process that is forked from this one does not inherit it.

    Raises
    ------
    InUseError
        Immediately, if the store has an owner.
    OSError, sqlite3.Error
        If the lock cannot be created.
    """
    lock = Path(f"{file}.lock")
    while True:
        lock.touch()
        before = _identity(lock)
        with closing(sqlite3.connect(lock, timeout=0, isolation_level=None)) as connection:
            _lock(connection)
            if before is None or before != _identity(lock):
                continue  # its last owner has just removed this file, so a lock on it has no effect
            _write_name(connection)
            _lock(connection)
            if before != _identity(lock):
                continue
            try:
                yield
            finally:
                with suppress(OSError):  # Windows does not remove an open file
                    lock.unlink()
            return


def owner_of(file: Path) -> str | None:
    """Return the current owner of the store; None if there is none.

    A user who may not write the lock file cannot find out whether the owner is still running. Then "perhaps" is put before
    the name.

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
            if not os.access(lock, os.W_OK):  # SQLite would start a transaction without a lock
                return f"perhaps {_name_of_owner(connection)}"
            _lock(connection)
    except InUseError as owner:
        return str(owner)
    return None


def this_process() -> str:
    """Return the name of this process, as people on other machines can read it.

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
    """Write the name of this process; this ends the transaction."""
    connection.execute("CREATE TABLE IF NOT EXISTS owner (name TEXT)")
    connection.execute("DELETE FROM owner")
    connection.execute("INSERT INTO owner VALUES (?)", [this_process()])
    connection.execute("COMMIT")


def _name_of_owner(connection: sqlite3.Connection) -> str:
    connection.execute("PRAGMA busy_timeout = 500")  # milliseconds, because the owner may be writing its name
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
