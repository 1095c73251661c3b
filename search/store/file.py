"""The file of a store: how it is recognised, how a new one is created, and how damage is found."""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from search.errors import StoreError
from search.store.rows import COLUMNS, StoredRow, checksum

APPLICATION_ID = 0x74676C73  # "tgls"
FORMAT = 3

TABLES = {
    # What the search depends on, and notes. The entry "rows" is the number of rows in "fits", so that a lost row is noticed.
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum BLOB NOT NULL) WITHOUT ROWID",
    "fits": """CREATE TABLE fits (
        configuration TEXT NOT NULL,
        fold INTEGER NOT NULL,
        epochs INTEGER NOT NULL,
        status TEXT NOT NULL,
        validation_loss TEXT NOT NULL,
        train_loss TEXT NOT NULL,
        scores TEXT NOT NULL,
        seconds TEXT NOT NULL,
        reason TEXT NOT NULL,
        state BLOB,
        checksum BLOB NOT NULL,
        PRIMARY KEY (configuration, fold, epochs)
    ) WITHOUT ROWID""",
}
INSERT = f"INSERT INTO fits VALUES ({', '.join('?' * len(COLUMNS))}) ON CONFLICT DO NOTHING"
SET_META = "INSERT OR REPLACE INTO meta VALUES (?, ?, ?)"


def is_store(file: Path, name: str) -> bool:
    """Return True for a store and False if there is no file, or raise a StoreError if the file is something else.

    Neither the file nor any file beside it is changed, since it may be another program's database.
    """
    if not file.parent.is_dir():
        raise StoreError(f"store {name}: folder {file.parent} does not exist, expected one; make it first")
    if not file.exists():
        return False
    if not file.is_file():
        kind = "a directory" if file.is_dir() else "not a regular file"
        raise StoreError(f"store {name} is {kind}, expected a file; give another path")
    if file.stat().st_size == 0:
        raise StoreError(f"store {name} is empty, expected the file of a search; delete it, or give another path")
    found_application, found_format = _identity(file, name)
    if found_application != APPLICATION_ID:
        raise StoreError(f"store {name} is another program's database, expected a search's; give another path")
    if found_format > FORMAT:
        raise StoreError(
            f"store {name} has format {found_format}, this version reads format {FORMAT}; use a newer tinygrad-lab"
        )
    if found_format < FORMAT:
        raise StoreError(
            f"store {name} has format {found_format}, made by an older tinygrad-lab, this version reads format {FORMAT}; "
            "use that one, or give another store"
        )
    return True


def _identity(file: Path, name: str) -> tuple[int, int]:
    """Return the application and the format in the header."""
    # Read through SQLite: if this process has the file open, closing a plain file handle would drop SQLite's locks on it.
    # immutable=1 takes no lock, and neither creates nor replays a log.
    # writable_schema accepts a file that is shorter than its header says, as it is during a checkpoint. The log has the rest;
    # the caller that opens both finds out whether anything is missing.
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            (found_application,) = connection.execute("PRAGMA application_id").fetchone()
            (found_format,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise StoreError(f"store {name} is not an SQLite file, expected the file of a search; give another path") from error
        raise StoreError(f"store {name} cannot be read: {error}; repair it, or give another path") from error
    return found_application, found_format


def lay_out(meta: Mapping[str, str], rows: Iterable[StoredRow] = ()) -> sqlite3.Connection:
    """Create a store in memory that contains some rows."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("BEGIN")
    for statement in TABLES.values():
        connection.execute(statement)
    added = connection.executemany(INSERT, rows).rowcount
    for item in {**meta, "rows": str(max(added, 0))}.items():
        connection.execute(SET_META, meta_row(*item))
    connection.execute("COMMIT")
    return connection


def check_structure(connection: sqlite3.Connection) -> None:
    """Raise a ValueError or an sqlite3.Error if the file's pages or tables are damaged."""
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise ValueError(f"it is damaged ({found})")
    if dict(connection.execute("SELECT name, sql FROM sqlite_schema")) != TABLES:
        raise ValueError(f"it is damaged, its tables are not those of format {FORMAT}")


def meta_row(key: str, value: str) -> tuple[str, str | bytes, bytes]:
    """Return an entry of `meta` as the values of SET_META.

    A text with lone surrogates, such as the name of a folder that is not UTF-8, is stored as bytes.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        return key, value.encode("utf-8", "surrogatepass"), checksum((key, value))
    return key, value, checksum((key, value))


def read_meta(connection: sqlite3.Connection, condition: str = "") -> dict[str, str]:
    """Return the entries of `meta` that meet an SQL condition; raise a ValueError if one is not as it was written."""
    found = {}
    for key, text, stored in connection.execute(f"SELECT key, value, checksum FROM meta {condition}"):
        value = text.decode("utf-8", "surrogatepass") if isinstance(text, bytes) else text
        if checksum((key, value)) != stored:
            raise ValueError(f"its entry {key!r} is damaged, its checksum is that of another")
        found[key] = value
    return found
