"""Rows as an aligned text table."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Protocol, TypeVar, overload

from search.errors import printable


class HasStatus(Protocol):
    """A row that says how its training ended."""

    @property
    def status(self) -> str:
        """``"done"``, or what happened instead."""
        ...


Row = TypeVar("Row")
EndedRow = TypeVar("EndedRow", bound=HasStatus)


def text_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return the rows as text. Numbers have six digits and are aligned right; everything else is aligned left.

    Control characters and the like are written as escapes, see `search.errors.printable`.

    Examples
    --------
    >>> print(text_table(["rank", "activation", "mean"], [[1, "relu", 0.6125], [2, "sigmoid", 11.25]]))
    rank  activation    mean
       1  relu        0.6125
       2  sigmoid      11.25
    """
    header = [*map(printable, header)]
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    is_number = [are_numbers([row[i] for row in rows]) for i in range(len(header))]
    lines = [
        "  ".join(
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, is_number, strict=True)
        ).rstrip()
        for line in [header, *cells]
    ]
    return "\n".join(lines)


def are_numbers(column: Iterable[Any]) -> bool:
    """Whether all values of a column are numbers; True and False are none.

    Examples
    --------
    >>> are_numbers([1, 0.5]), are_numbers([1, True]), are_numbers([1, ""])
    (True, False, False)
    """
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in column)


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))


class Rows(Sequence[Row], ABC):
    """A fixed sequence of rows that prints as a table: a ranking, a comparison, re-trained networks."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, position: int) -> Row: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Row]: ...
    def __getitem__(self, position: int | slice) -> Row | Sequence[Row]:
        return self._rows[position]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} configurations)"

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        """Return the table for a notebook, which shows it for the last line of a cell."""
        return f"<pre>{escape(str(self))}</pre>"

    @abstractmethod
    def table(self) -> str:
        """Return the rows as an aligned text table."""


class EndedRows(Rows[EndedRow]):
    """Rows of trainings that have ended, successfully or not: a ranking, re-trained networks."""

    @property
    def done(self) -> tuple[EndedRow, ...]:
        """The rows whose status is ``"done"``, in their order."""
        return tuple(row for row in self if row.status == "done")
