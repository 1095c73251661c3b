"""Rows of trainings that have ended, each with a status: which of them are done."""

from typing import Protocol, TypeVar

from search.table import Rows


class HasStatus(Protocol):
    """A row that says how it ended."""

    @property
    def status(self) -> str:
        """``"done"``, or another word."""
        ...


EndedRow = TypeVar("EndedRow", bound=HasStatus)


class EndedRows(Rows[EndedRow]):
    """Rows that have ended, done or not: a ranking, re-trained networks."""

    @property
    def done(self) -> tuple[EndedRow, ...]:
        """The rows whose status is ``"done"``, in their order."""
        return tuple(row for row in self if row.status == "done")
