"""The open store of a search: add an outcome, read all outcomes, report the progress of the search.

Store(path, fingerprint) --> lock --> recognise, or create --> check --> compare the fingerprint --> add, add, ...
Store(path) ---------------------> recognise ----------------> check --> outcomes, progress
"""

import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from search.errors import StoreError, printable
from search.space.configuration import as_configuration
from search.store.differences import differences, is_part, name_differences
from search.store.file import INSERT, SET_META, check_structure, is_store, lay_out, meta_row, read_meta
from search.store.fork import Fork
from search.store.owner import InUseError, owning
from search.store.place import Place
from search.store.rows import StoredRow, check_row, from_row, to_row
from search.trials.fits import Outcome
from search.trials.folds import Fold
from tinygrad_lab.storage.files import replacing

# The entries of `meta` that are neither of the fingerprint nor notes.
OWN_ENTRIES = ("rows", "forked from")


@dataclass(frozen=True)
class Progress:
    """The progress of a search.

    Attributes
    ----------
    counts : dict of str to int
        The number of fits of each status.
    seconds : float
        The total time of the fits.

    Examples
    --------
    >>> with Store(None, {"seed": "0"}) as store:
    ...     store.add({"lr": 0.1}, 0, Outcome("done", validation_loss=0.5, seconds=2.0))
    ...     progress = store.progress()
    >>> progress
    Progress(counts={'done': 1}, seconds=2.0)
    """

    counts: dict[str, int]
    seconds: float


class Store:
    """One SQLite file of finished fits.

    The promise: once `add` has returned, the result is never lost or changed. If the process is killed, the machine stops or
    the disk is full, the result is there when the store is next opened, the same to the bit. If the file itself was damaged
    meanwhile, it is refused with an error that names it, and no part of it is used. What keeps the promise:

    - Each result has its own transaction, which is synced to the log (WAL, ``synchronous = FULL``) and copied from there to
      the file before `add` returns. `add` waits up to 5 seconds for a process that is reading.
    - A store has one owner: only one process at a time may write it, and its lock ends with that process. Any process may
      read the store meanwhile.
    - Each row has a checksum, the number of rows is stored, and SQLite checks its pages. All are verified on reading.
    - A store has a fingerprint of the search that it was made for, and accepts no other search.
    - After each result, the path must still lead to the open file. If the file was removed or replaced, its content is
      written to a free path, which the StoreError names.

    Parameters
    ----------
    path : path-like or None
        The file. If it does not exist, it is created, whole or not at all. None keeps the results in memory.
    fingerprint : mapping of str to str, optional
        What the results depend on, from `search.store.fingerprint.fingerprint`. Without it, an existing store is opened for
        reading only.
    fork : path-like, optional
        Another store, from which a new store copies its first results. Fits that failed or crashed are not copied, so they
        are tried again. Grid, builder, engine and version may differ; data, folds, seed and scoring may not. The other store is
        only read. This has no effect if the store at `path` exists.
    configurations : iterable of str, optional
        The canonical texts of the configurations whose results a fork copies, by default all.
    folds : sequence of pair of ndarray, optional
        The folds of this search. With them, a fork may add folds: the folds of the other store must be the first ones.

    Attributes
    ----------
    meta : dict of str to str
        The fingerprint that the store was made with; ``"rows"``, the number of results when it was opened;
        ``"forked from"`` if it is a fork; and the notes.

    Raises
    ------
    StoreError
        If the file is no store or has another format, cannot be read or written, is damaged or in use, or belongs to another
        search.

    Examples
    --------
    >>> with Store(None, {"seed": "0"}) as store:
    ...     store.add({"lr": 0.1}, 0, Outcome("done", validation_loss=0.5, train_loss=-0.0))
    ...     [outcome] = store.outcomes().values()
    >>> outcome.validation_loss, outcome.train_loss
    (0.5, -0.0)
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        fingerprint: Mapping[str, str] | None = None,
        fork: str | os.PathLike[str] | None = None,
        configurations: Iterable[str] | None = None,
        folds: Sequence[Fold] = (),
    ) -> None:
        self.name = "in memory" if path is None else printable(os.fspath(path))
        self._place: Place | None = None  # of a store that is written
        self._engine = (fingerprint or {}).get("engine", "")
        self._other_engine = ""  # how the engine of the results in the store differs
        self._own_entries = {*(fingerprint or ()), *OWN_ENTRIES}
        self._resources = ExitStack()
        try:
            with self._one_line_errors("cannot be opened"):
                file = None if path is None else Path(os.path.realpath(path))
                exists = file is not None and is_store(file, self.name)
            if fingerprint is not None:
                origin = None if fork is None else Fork(fork, configurations, folds)
                self._connection = self._opened_to_write(file, fingerprint, origin)
            elif file is not None and exists:
                self._connection = self._opened_to_read(file)
            else:
                raise StoreError(f"store {self.name}: there is none, expected the file of a search")
            with self._one_line_errors("cannot be read"):
                check_structure(self._connection)
                self.meta = read_meta(self._connection)
            if fingerprint is not None:
                self._prepare_to_write(file, fingerprint)
            if fingerprint is not None and path is not None and file is not None:
                self._place = Place(path, file)
        except BaseException:
            self.close()
            raise

    def add(self, configuration: Mapping[str, Any], fold: int, outcome: Outcome, epochs: int = 0) -> None:
        """Write the outcome of one fit; it is on disk when this returns. An outcome that is there already is kept.

        Parameters
        ----------
        configuration : mapping
            What was fitted.
        fold : int
            The number of the fold.
        outcome : Outcome
            Its `trained` is not stored.
        epochs : int, default=0
            After how many epochs the training was stopped; 0 if it went to its end.

        Raises
        ------
        StoreError
            If it cannot be written, for instance because the disk is full. Earlier results are kept.
        """
        self.check_engine()
        with self._writing():
            row = to_row(as_configuration(configuration).text, fold, epochs, outcome)
            with self._transaction("BEGIN IMMEDIATE") as execute:
                if execute(INSERT, row).rowcount:
                    self._set("rows", str(self._count() + 1))

    def check_engine(self) -> None:
        """Refuse further results if those in the store were computed by another engine, so that a ranking never mixes them.

        A store whose search has ended can be opened with any engine. If only further packages are used now, such as by
        baselines that are added, they are noted: no result in the store depends on them.

        Raises
        ------
        StoreError
            If there are such results.
        """
        if not self._other_engine:
            return
        if self._count() and not is_part(self.meta.get("engine", ""), self._engine):
            raise StoreError(
                f"store {self.name} has results of another engine ({self._other_engine}), whose last digits may differ, "
                "expected the same for all; restore that one, or go on in a new store that is a fork of this one"
            )
        with self._writing(), self._transaction("BEGIN IMMEDIATE"):
            self._set("engine", self._engine)
        self._other_engine = ""

    def note(self, key: str, text: str) -> None:
        """Store a text in `meta`, such as the file that describes a search. It replaces an earlier text of the same key.

        Raises
        ------
        StoreError
            If it cannot be written.
        ValueError
            If the store uses this key itself.
        """
        if key in self._own_entries:
            raise ValueError(f"note {key!r}: the store itself has an entry of this name, expected another name")
        with self._writing(), self._transaction("BEGIN IMMEDIATE"):
            self._set(key, text)
        self.meta[key] = text

    def outcomes(self, epochs: int = 0) -> dict[tuple[str, int], Outcome]:
        """Return the outcomes by the configuration's canonical text and the number of the fold.

        Parameters
        ----------
        epochs : int, default=0
            Selects the fits that were stopped after so many epochs; 0 selects those that were trained to their ends.

        Raises
        ------
        StoreError
            If a row is damaged or missing.
        """
        return {(row[0], row[1]): from_row(row) for row in self._rows() if row[2] == epochs}

    def all_outcomes(self) -> dict[tuple[str, int, int], Outcome]:
        """Return all outcomes by the configuration's canonical text, the fold, and the epochs as in `outcomes`.

        Raises
        ------
        StoreError
            If a row is damaged or missing.
        """
        return {(row[0], row[1], row[2]): from_row(row) for row in self._rows()}

    def progress(self) -> Progress:
        """Return how many fits have ended with each status, and their total time."""
        outcomes = [from_row(row) for row in self._rows()]
        return Progress(dict(Counter(outcome.status for outcome in outcomes)), sum(outcome.seconds for outcome in outcomes))

    def close(self) -> None:
        """Close the file."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with closing(self):
            if kind is None:
                self._check_place()

    def __repr__(self) -> str:
        return f"Store({self.name!r})"

    def _opened_to_read(self, file: Path) -> sqlite3.Connection:
        with self._one_line_errors("cannot be read"):
            connection = self._connected(file)
            connection.execute("PRAGMA query_only = ON")
            return connection

    def _opened_to_write(self, file: Path | None, fingerprint: Mapping[str, str], fork: Fork | None) -> sqlite3.Connection:
        if file is not None:
            self._own(file)
        with self._one_line_errors("cannot be opened"):
            if file is None:
                return self._resources.enter_context(closing(self._laid_out(fingerprint, fork)))
            if not is_store(file, self.name):  # checked again as the owner: another process may have created it
                self._make(file, fingerprint, fork)
            return self._connected(file)

    def _prepare_to_write(self, file: Path | None, fingerprint: Mapping[str, str]) -> None:
        """Raise if the store is another search's or cannot be written, and choose how SQLite writes it."""
        different = differences(self.meta, fingerprint)
        self._other_engine = different.pop("engine", "")
        if different:
            raise StoreError(
                f"store {self.name} belongs to another search, with other {name_differences(different)}: "
                "give what it was made with, or another store"
            )
        with self._one_line_errors("cannot be written"):
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA journal_mode = WAL")
            if file is not None and not os.access(file, os.W_OK):  # otherwise the first fit would be lost
                raise ValueError("it is read-only")

    def _own(self, file: Path) -> None:
        try:
            with self._one_line_errors("cannot be locked"):
                self._resources.enter_context(owning(file))
        except InUseError as owner:
            raise StoreError(f"store {self.name} is in use by {owner}; wait for it or give another store") from owner

    def _make(self, file: Path, fingerprint: Mapping[str, str], fork: Fork | None) -> None:
        """Create the file of a new store, whole or not at all."""
        with closing(self._laid_out(fingerprint, fork)) as connection:
            for suffix in ("-wal", "-journal"):  # left by a deleted file: SQLite would replay them into the new one
                Path(f"{file}{suffix}").unlink(missing_ok=True)
            with replacing(file) as stream:
                stream.write(connection.serialize())

    def _laid_out(self, fingerprint: Mapping[str, str], fork: Fork | None) -> sqlite3.Connection:
        """Return a new store in memory."""
        if fork is None:
            return lay_out(fingerprint)
        with Store(fork.path) as source:
            return lay_out(*fork.content(source.name, source.meta, source._rows(), fingerprint))

    def _connected(self, file: Path) -> sqlite3.Connection:
        if os.access(file.parent, os.W_OK):
            options = ""
        elif all(Path(f"{file}{suffix}").exists() for suffix in ("-wal", "-shm")):
            options = "?mode=ro"  # another process is writing, or was killed, so the log is read too
        else:  # otherwise SQLite would need an index of the log, which cannot be created here
            options = "?mode=ro&immutable=1"
        connection = sqlite3.connect(file.as_uri() + options, uri=True, isolation_level=None)
        return self._resources.enter_context(closing(connection))

    def _rows(self) -> list[StoredRow]:
        """Return all rows, after checking each of them and their number."""
        with self._one_line_errors("cannot be read"):
            with self._transaction("BEGIN") as execute:
                expected = self._count()
                rows = execute("SELECT * FROM fits").fetchall()
            for row in rows:
                check_row(row)
            if len(rows) != expected:
                raise ValueError(f"it is damaged, it has {len(rows)} results of {expected}")
            return rows

    def _count(self) -> int:
        """Return the stored number of rows."""
        entry = read_meta(self._connection, "WHERE key = 'rows'")
        if not entry:
            raise ValueError("it is damaged, its entry 'rows' is missing")
        return int(entry["rows"])

    def _set(self, key: str, value: str) -> None:
        self._connection.execute(SET_META, meta_row(key, value))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Acknowledge what the block writes: move it to the file, and check that the path still leads to this file."""
        try:
            with self._one_line_errors("cannot be written"):
                yield
                # SQLite silently ignores a damaged tail of the log, so an acknowledged row must not exist only there.
                self._connection.execute("PRAGMA wal_checkpoint(FULL)")
        finally:
            self._check_place()

    def _check_place(self) -> None:
        """Raise a StoreError if the path leads to another file or to none, after the results were brought to safety."""
        if self._place is None or self._place.is_kept():
            return
        place, self._place = self._place, None
        what = f"store {self.name} {place.what_happened()} while the search ran"
        if name := place.new_name():
            raise StoreError(f"{what}; all results are in {printable(name)}: give that path, and run again to go on")
        with self._one_line_errors("was removed or replaced, and what it had cannot be read"):
            count, content = self._count(), self._connection.serialize()
        if name := place.rescue(content):
            raise StoreError(f"{what}; its {count:,} results were written to {printable(name)}: run again from there to go on")
        raise StoreError(f"{what}, and its {count:,} results could not be written to another file, so they are lost; run again")

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Any]:
        """Yield a function that executes a statement; either all statements of the block take effect, or none."""
        self._connection.execute(begin)
        try:
            yield self._connection.execute
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite may already have rolled back
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _one_line_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise StoreError(f"store {self.name} {what}: {reason}; free or repair it, or give another store") from error
