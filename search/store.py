"""The store: one SQLite file of finished fits, so that a search which is stopped anywhere goes on where it was.

    Outcome --add--> one row, committed --outcomes--> Outcome, the same to the bit

The search's own process is the only writer; others may read meanwhile (write-ahead log). A file is recognised by what
its first hundred bytes say, before SQLite may touch it: another program's file is never altered.
"""

import os
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from search.configuration import canonical_text, digest
from search.errors import StoreError
from search.fingerprint import package_version
from search.fits import Outcome

APPLICATION_ID = 0x74676C73  # "tgls"
FORMAT = 1

SCHEMA = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    # Losses are text, as Python's repr: a REAL column has no NaN and loses the sign of -0.0.
    """CREATE TABLE fits (
        configuration_digest TEXT NOT NULL,
        fold INTEGER NOT NULL,
        configuration TEXT NOT NULL,
        status TEXT NOT NULL,
        validation_loss TEXT NOT NULL,
        train_loss TEXT NOT NULL,
        seconds REAL NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (configuration_digest, fold)
    )""",
)


class Store:
    """One SQLite file of finished fits.

    Each result is on disk when `add` returns (``synchronous = FULL``). Two searches on one store write the same results
    twice; the first stays.

    Parameters
    ----------
    path : path-like or None
        The file; created if it does not exist or is empty. None keeps the results in memory.
    fingerprint : mapping of str to str, optional
        What the results depend on, from `search.fingerprint.fingerprint`. Without it an existing store is opened to be
        read only.

    Attributes
    ----------
    meta : dict of str to str
        The fingerprint that the store was made with, and the package version that made it.

    Raises
    ------
    StoreError
        If the path is not a store, cannot be written, has a newer format, or belongs to another search.

    Examples
    --------
    >>> with Store(None, {"seed": "0"}) as store:
    ...     store.add({"lr": 0.1}, 0, Outcome("done", validation_loss=0.5, train_loss=-0.0))
    ...     [outcome] = store.outcomes().values()
    >>> outcome.validation_loss, outcome.train_loss
    (0.5, -0.0)
    """

    def __init__(self, path: str | os.PathLike[str] | None, fingerprint: Mapping[str, str] | None = None) -> None:
        self.name = "in memory" if path is None else os.fspath(path)
        file = None if path is None else Path(path).absolute()
        is_store = file is not None and _is_store(file, self.name)
        if fingerprint is None and not is_store:
            raise StoreError(f"store {self.name}: there is none, expected the file of a search")
        with self._one_line_errors("cannot be opened"):
            self._connection = sqlite3.connect(":memory:" if file is None else file, isolation_level=None)
        try:
            with self._one_line_errors("cannot be read" if fingerprint is None else "cannot be written"):
                if fingerprint is None:
                    self._connection.execute("PRAGMA query_only = ON")
                else:
                    self._prepare(fingerprint)
                self.meta = dict(self._connection.execute("SELECT key, value FROM meta"))
            if fingerprint is not None:
                self._compare(fingerprint)
        except BaseException:
            self.close()
            raise

    def add(self, configuration: Mapping[str, Any], fold: int, outcome: Outcome) -> None:
        """Write the outcome of one fit; it is on disk when this returns.

        Raises
        ------
        StoreError
            If it cannot be written, for instance because the disk is full. Earlier results stay.
        """
        row = (
            digest(configuration),
            fold,
            canonical_text(configuration),
            outcome.status,
            repr(outcome.validation_loss),
            repr(outcome.train_loss),
            outcome.seconds,
            outcome.reason,
        )
        with self._one_line_errors("cannot be written"):
            self._connection.execute("INSERT INTO fits VALUES (?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING", row)

    def outcomes(self) -> dict[tuple[str, int], Outcome]:
        """Return the finished fits by their configuration's canonical text and their fold."""
        with self._one_line_errors("cannot be read"):
            rows = self._connection.execute(
                "SELECT configuration, fold, status, validation_loss, train_loss, seconds, reason FROM fits"
            ).fetchall()
            return {
                (text, fold): Outcome(status, float(validation), float(train), seconds, reason)
                for text, fold, status, validation, train, seconds, reason in rows
            }

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self.name!r})"

    def _prepare(self, fingerprint: Mapping[str, str]) -> None:
        """Lay out a new file in one transaction, so that none is ever half made; then turn on the log."""
        run = self._connection.execute
        run("PRAGMA synchronous = FULL")
        run("BEGIN IMMEDIATE")
        if not run("SELECT 1 FROM sqlite_master").fetchone():
            for statement in SCHEMA:
                run(statement)
            self._connection.executemany(
                "INSERT INTO meta VALUES (?, ?)", [*fingerprint.items(), ("version", package_version())]
            )
        run("COMMIT")
        run("PRAGMA journal_mode = WAL")

    def _compare(self, fingerprint: Mapping[str, str]) -> None:
        different = [key for key in fingerprint if self.meta.get(key) != fingerprint[key]]
        if different:
            there_and_here = ", ".join(
                f"{key} ({self.meta.get(key, 'none')[:8]} there, {fingerprint[key][:8]} here)" for key in different
            )
            raise StoreError(
                f"store {self.name} belongs to another search, with other {there_and_here}: "
                f"give what it was made with, or another store"
            )

    @contextmanager
    def _one_line_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(f"store {self.name} {what}: {error}; free or repair it, or give another store") from error


def _is_store(file: Path, name: str) -> bool:
    """Return whether the file is a store (else it is yet to be made), or raise if it is something else."""
    try:
        if not file.parent.is_dir():
            raise StoreError(f"store {name}: folder {file.parent} does not exist, expected one; make it first")
        if not file.exists():
            return False
        if not file.is_file():
            kind = "a directory" if file.is_dir() else "not a regular file"
            raise StoreError(f"store {name} is {kind}, expected a file; give another path")
        with file.open("rb") as stream:
            header = stream.read(100)
    except OSError as error:
        raise StoreError(f"store {name} cannot be read: {error.strerror}; give another path") from error
    if not any(header):
        return False  # empty, or zeros: a machine that stops while SQLite lays the file out can leave those to be undone
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        raise StoreError(f"store {name} is not an SQLite file, expected the file of a search; give another path")
    (found_format,) = struct.unpack(">i", header[60:64])
    (application_id,) = struct.unpack(">I", header[68:72])
    if application_id != APPLICATION_ID:
        raise StoreError(f"store {name} is another program's database, expected a search's; give another path")
    if found_format > FORMAT:
        raise StoreError(f"store {name} has format {found_format}, this version reads up to {FORMAT}; use a newer tinygrad-lab")
    return True
