"""The owner of a store: the only process that may write it. Its lock is released by the operating system when it dies."""

import os
import platform
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from search.errors import printable

TABLE = "CREATE TABLE owner (name TEXT)"  # by which a lock is recognised


class InUseError(Exception):
    """The store is owned by another process, or by another Store in this process; the message names the owner."""


@contextmanager
def owning(file: Path) -> Iterator[None]:
    """Own the store while the block runs.

    The lock is an SQLite transaction that stays open, so it works alike on every system. It is on a second database beside
    the store, which names the owner and is removed at the end. A process that is forked from this one does not inherit it.
    A file or link of the lock's name that no search made is neither written nor removed.

    Raises
    ------
    InUseError
        Immediately, if the store has an owner.
    OSError, sqlite3.Error, ValueError
        If the lock cannot be created, or something else is in its place.
    """
    lock = Path(f"{file}.lock")
    while True:
        _make(lock)
        before = identity(lock)
        if before is None:
            continue
        if not _is_lock(lock):
            if before != identity(lock):
                continue
            raise ValueError(f"{lock.name} beside it is not the lock of a search; move it away")
        with closing(sqlite3.connect(lock, timeout=0, isolation_level=None)) as connection:
            _lock(connection)
            if before != identity(lock):
                continue  # its last owner has just removed this file, so a lock on it has no effect
            _write_name(connection)
            _lock(connection)
            if before != identity(lock):
                continue
            try:
                yield
            finally:
                if before == identity(lock):
                    with suppress(OSError):  # Windows does not remove an open file
                        lock.unlink()
            return


def owner_of(file: Path) -> str | None:
    """Return the current owner of the store; None if there is none, or if the lock is no search's.

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
    lock = Path(f"{os.path.realpath(file)}.lock")
    if not _is_lock(lock):
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
    connection.execute("DELETE FROM owner")
    connection.execute("INSERT INTO owner VALUES (?)", [this_process()])
    connection.execute("COMMIT")


def _name_of_owner(connection: sqlite3.Connection) -> str:
    connection.execute("PRAGMA busy_timeout = 500")  # milliseconds, because the owner may be writing its name
    try:
        row = connection.execute("SELECT name FROM owner").fetchone()
    except sqlite3.OperationalError:
        row = None
    return printable(str(row[0])) if row else "another process"


def _make(lock: Path) -> None:
    """Create the lock, whole or not at all, unless there is anything in its place."""
    if os.path.lexists(lock):
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(TABLE)
        content = connection.serialize()
    temporary = lock.with_name(f".{lock.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        temporary.write_bytes(content)
        try:
            os.link(temporary, lock)  # unlike os.replace, it replaces nothing
        except FileExistsError:
            return
        except OSError:  # the file system has no hard links
            with suppress(FileExistsError), lock.open("xb") as file:
                file.write(content)
    finally:
        temporary.unlink(missing_ok=True)


def _is_lock(lock: Path) -> bool:
    """Whether a search made this file. Nothing is written, not even a log of its last transaction."""
    try:
        if not stat.S_ISREG(lock.lstat().st_mode):
            return False
        with closing(sqlite3.connect(f"{lock.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            return connection.execute("SELECT sql FROM sqlite_schema").fetchall() == [(TABLE,)]
    except (OSError, sqlite3.Error):
        return False


def identity(file: Path) -> tuple[int, int] | None:
    """Return what tells a file from all others, whatever its name is; None if there is no file."""
    try:
        found = file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
