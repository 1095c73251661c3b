"""Output for people: words, and files.

A file is written whole or not at all. If it cannot be written, the error is one line.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from search.errors import SearchError, printable
from tinygrad_lab.storage.files import replacing


def plural(count: int, noun: str) -> str:
    """Return the singular or the plural of a noun.

    Examples
    --------
    >>> plural(1, "fold"), plural(4, "fold")
    ('fold', 'folds')
    """
    return noun if count == 1 else f"{noun}s"


@contextmanager
def naming_write_errors(path: str | os.PathLike[str], kind: str = "path") -> Iterator[None]:
    """Turn an OSError inside the block, which writes a file, into a SearchError that names the file.

    Parameters
    ----------
    path : path
        Of the file, as the user gave it.
    kind : str, default="path"
        What the error message tells the user to change.
    """
    try:
        yield
    except OSError as error:
        raise SearchError(f"{printable(os.fspath(path))} cannot be written: {error.strerror}; give another {kind}") from error


def write_csv(path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    r"""Write a table to a CSV file, whole or not at all; floats round-trip to the bit.

    Lone surrogates, which UTF-8 cannot hold, are written as escapes.

    Raises
    ------
    SearchError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_csv(Path(folder, "losses.csv"), ["lr", "loss"], [[0.1, 0.2 + 0.1]])
    ...     Path(folder, "losses.csv").read_text()
    'lr,loss\n0.1,0.30000000000000004\n'
    """
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    with naming_write_errors(path), replacing(path) as file:
        file.write(stream.getvalue().encode(errors="backslashreplace"))
