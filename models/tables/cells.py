"""Cells as they were read from a file or a DataFrame, with the place of each row, and the errors that name it.

file, DataFrame --> Cells: names, columns of cells, line of each row --> descriptions of columns, numbers
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import numpy as np

MISSING_WORDS = frozenset([
    "", "?", "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "null", "NULL", "None", "NaT", "<NA>",
    "#N/A", "#N/A N/A", "#NA", "#DIV/0!", "#NUM!", "#VALUE!", "#REF!", "#NAME?", "#NULL!",
])  # fmt: skip
"""Words for a missing value: those of pandas, those of Excel for an error, and the question mark of the UCI archive."""


class TableError(ValueError):
    """A table cannot be read or used as it is. The message names the file, the line, the column, the value and a cure.

    Examples
    --------
    >>> import pandas
    >>> from models import read_table
    >>> frame = pandas.DataFrame({"size": [1.0, 2.0, 4.0], "color": ["red", "blue", "red"], "price": [1.5, 2.5, 4.0]})
    >>> read_table(frame, target="prize")
    Traceback (most recent call last):
    models.tables.cells.TableError: frame: no column 'prize', did you mean 'price'?
    """


class TableWarning(UserWarning):
    """Something in a table was left out or replaced.

    Examples
    --------
    >>> import warnings
    >>> import pandas
    >>> from models import TableModel, read_table
    >>> frame = pandas.DataFrame({"size": [1.0, 2.0, 4.0], "price": [1.5, 2.5, 4.0]})
    >>> table = read_table(frame, target="price", verbose=False)
    >>> class Mean:
    ...     def predict(self, x):
    ...         return np.full(len(x), 2.0)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     y = TableModel(Mean(), table.description).predict(frame.assign(color="green"))
    >>> print(caught[0].category.__name__, caught[0].message)
    TableWarning frame: additional columns are not used: color
    """


@dataclass(frozen=True)
class Cells:
    """Columns of cells, as they were read.

    A column is float64 with nan where a value is missing, or objects: str, numbers, bool, dates, and None where one is missing.

    Attributes
    ----------
    source : str
        What error messages call it: the name of the file.
    names : tuple of str
    columns : tuple of ndarray of shape (rows,)
    lines : ndarray of shape (rows,)
        The place of each row: its line in the file, as an editor counts it, or its label in a DataFrame.
    unit : str
        What a place is called: "line" or "row".
    delimiter : str
        The delimiter of a text file.
    notes : tuple of str
        What was guessed or left out.
    kinds : mapping of str to str
        The kinds of columns that are known, because a DataFrame says that they are categories.
    """

    source: str
    names: tuple[str, ...]
    columns: tuple[np.ndarray, ...]
    lines: np.ndarray
    unit: str = "line"
    delimiter: str = ""
    notes: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int | None = None, name: str | None = None) -> str:
        """Return a place for a message: "wine.csv, line 17, column 'alcohol'"."""
        parts = [self.source]
        if row is not None:
            parts.append(f"{self.unit} {self.lines[row]}")
        if name is not None:
            parts.append(f"column {printable(name)!r}")
        return ", ".join(parts)

    def column(self, name: str) -> np.ndarray:
        """Return the cells of a column."""
        return self.columns[self.names.index(name)]

    def resolve(self, key: Any) -> str:
        """Return the name of the column with this name or position, which counts from 0, or from -1 at the end."""
        if str(key) in self.names:
            return str(key)
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            if -len(self.names) <= key < len(self.names):
                return self.names[int(key)]
            last = len(self.names) - 1
            raise TableError(f"{self.source}: no column {key}, expected a name, or a position from {-last - 1} to {last}")
        raise TableError(f"{self.source}: no column {str(key)!r}{suggest(str(key), self.names)}")

    def take(self, rows: np.ndarray) -> Cells:
        """Return some of the rows."""
        return replace(self, columns=tuple(column[rows] for column in self.columns), lines=self.lines[rows])


def suggest(name: str, known: Sequence[str]) -> str:
    """Return the part of a message that suggests a similar name, or lists the known ones.

    Examples
    --------
    >>> suggest("qualty", ["quality", "alcohol"]), suggest("price", ["quality", "alcohol"])
    (", did you mean 'quality'?", '; the columns are quality, alcohol')
    """
    by_case = {x.casefold().strip(): x for x in known}
    if near := get_close_matches(name.casefold().strip(), by_case, n=1, cutoff=0.6):
        return f", did you mean {by_case[near[0]]!r}?"
    return f"; the columns are {listed(known)}"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> count(1, "row"), count(2000, "row"), count(2, "category", "categories")
    ('1 row', '2,000 rows', '2 categories')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Iterable[object], most: int = 12) -> str:
    """Return names as a list for a message, shortened after `most`.

    Examples
    --------
    >>> listed(["a", "b", "c", "d"], most=2)
    'a, b and 2 more'
    """
    texts = [printable(str(name)) for name in names]
    return ", ".join(texts) if len(texts) <= most + 1 else f"{', '.join(texts[:most])} and {len(texts) - most} more"


def is_missing(column: np.ndarray) -> np.ndarray:
    """Return in which rows of a column the value is missing.

    Examples
    --------
    >>> is_missing(objects(["a", None])), is_missing(np.array([np.nan, 1.0]))
    (array([False,  True]), array([ True, False]))
    """
    return np.isnan(column) if column.dtype.kind == "f" else np.array([cell is None for cell in column], bool)


def printable(text: str, most: int = 40) -> str:
    r"""Return a text for a message: printable, and not long.

    Examples
    --------
    >>> printable("a\nb"), printable("abcd", most=2)
    ('a�b', 'ab...')
    """
    text = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    return text if len(text) <= most else f"{text[:most]}..."


def objects(cells: Sequence[Any]) -> np.ndarray:
    """Return cells as an array of objects, whatever they are."""
    column = np.empty(len(cells), object)
    column[:] = cells
    return column


def join_columns(parts: Sequence[Cells]) -> Cells:
    """Join tables side by side. They have the same number of rows, and no name twice."""
    first = parts[0]
    for part in parts[1:]:
        if len(part) != len(first):
            raise TableError(f"{first.source} has {len(first)} rows and {part.source} {len(part)}, expected the same number")
        if twice := [name for name in part.names if name in first.names]:
            raise TableError(f"{first.source} and {part.source} both have a column {twice[0]!r}, expected different names")
        first = replace(
            first,
            source=f"{first.source} + {part.source}",
            names=first.names + part.names,
            columns=first.columns + part.columns,
            notes=first.notes + part.notes,
            kinds={**first.kinds, **part.kinds},
        )
    return first
