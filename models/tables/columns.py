"""What a column of a table means: numbers, categories or dates. A description is small, plain, and can be written as JSON.

cells --guess_column--> Column --encode--> float64: numbers, codes of levels, days; nan where a value is missing
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.tables.cells import Cells, TableError, is_missing, listed
from models.tables.dates import COMPACT, OTHER, as_days, looks_compact
from models.tables.formats import NumberFormat, as_numbers, is_number

Level = str | int | float | bool

KINDS = ("number", "category", "date")
BOOLEANS = {"true": True, "false": False}
LEADING_ZERO = re.compile(r"[+-]?0\d")
QUANTITY = re.compile(r"[$€£¥]\s?[\d.,]+|[+-]?[\d.,]+\s?[%$€£¥]")
UNSEEN = -1.0
"""The code of a category that is not among the levels."""


@dataclass(frozen=True)
class Column:
    """The description of a column.

    Parameters
    ----------
    name : str
    kind : {"number", "category", "date"}
    levels : tuple of str, int, float or bool
        The categories. The code of a category is its position.
    format : str, optional
        That of dates which are not in ISO 8601, as of `datetime.strptime`.
    missing : bool
        Whether values are missing in the table that is described. The network then gets an indicator of them.
    """

    name: str
    kind: str
    levels: tuple[Level, ...] = ()
    format: str | None = None
    missing: bool = False

    def __post_init__(self) -> None:
        is_plain = isinstance(self.name, str) and isinstance(self.missing, bool) and isinstance(self.format, (str, type(None)))
        if not is_plain or not all(isinstance(level, (str, int, float, bool)) for level in self.levels):
            raise ValueError(f"Column {self.name!r}: expected a name, levels of text or numbers, a format, and a bool")
        if (self.kind == "category") != bool(self.levels) and self.kind in KINDS:
            raise ValueError(f"Column {self.name!r}: a {self.kind} has {len(self.levels)} levels; only a category has some")
        if self.kind not in KINDS:
            raise ValueError(f"Column {self.name!r}: kind is {self.kind!r}, expected one of {', '.join(KINDS)}")

    def to_json(self) -> dict[str, Any]:
        """Return the description as values that JSON has."""
        return asdict(self) | {"levels": list(self.levels)}

    @classmethod
    def from_json(cls, description: dict[str, Any]) -> Column:
        """Return the column of a description."""
        return cls(**(description | {"levels": tuple(description["levels"])}))

    def encode(self, cells: Cells, column: np.ndarray, form: NumberFormat) -> np.ndarray:
        """Return the cells as numbers: float64 of shape (rows,). A category that is no level becomes `UNSEEN`.

        Raises
        ------
        TableError
            If a cell is no number, or no date. The message names its line.
        """
        if self.kind == "category":
            return self._codes(column, form)
        if self.kind == "date":
            values, wrong = as_days(column, self.format)
            expected = "a date" + (f" of the format {self.format}" if self.format else ", such as 2024-02-29")
        else:
            values, wrong = as_numbers(column, form)
            expected = "a number"
        if wrong.any():
            row = int(wrong.argmax())
            raise TableError(
                f"{cells.where(row, self.name)}: {level_key(column[row])!r:.80} is not {expected}; correct it, or add it to "
                "na_values if it means a missing value"
            )
        if np.isinf(values).any():
            row = int(np.isinf(values).argmax())
            raise TableError(
                f"{cells.where(row, self.name)}: {level_key(column[row]):.80} is not finite; correct it, or leave it empty"
            )
        return values

    def _codes(self, column: np.ndarray, form: NumberFormat) -> np.ndarray:
        codes = {level_key(level): float(code) for code, level in enumerate(self.levels)}
        if isinstance(self.levels[0], bool):  # Excel writes TRUE where pandas writes True
            codes |= {key.lower(): code for key, code in codes.items()} | {key.upper(): code for key, code in codes.items()}
            codes |= {"0": codes.get("False", UNSEEN), "1": codes.get("True", UNSEEN)}
        if not isinstance(self.levels[0], str):  # 1,0 and 1 are one level
            numbers, wrong = as_numbers(column, form)
            column = np.where(wrong | is_missing(column), column, numbers.astype(object))
        return np.array(
            [
                np.nan if gap else codes.get(level_key(cell), UNSEEN)
                for cell, gap in zip(column, is_missing(column), strict=True)
            ]
        )


def level_key(value: Any) -> str:
    """Return the text by which levels are compared: 3, 3.0 and "3" are one level.

    Examples
    --------
    >>> level_key(3.0), level_key("3"), level_key(np.True_), level_key(0.5)
    ('3', '3', 'True', '0.5')
    """
    if is_number(value):
        return repr(int(value)) if float(value).is_integer() else repr(float(value))
    return str(value).strip()


def levels_of(column: np.ndarray, form: NumberFormat) -> list[Level]:
    """Return the different values of cells in order: booleans, numbers (whole ones as int), or text, such as 007."""
    cells = column[~is_missing(column)].tolist()
    if all(isinstance(cell, bool) or (isinstance(cell, str) and cell.lower() in BOOLEANS) for cell in cells):
        return sorted({BOOLEANS[str(cell).lower()] for cell in cells})
    numbers, wrong = as_numbers(column, form)
    present = numbers[~np.isnan(numbers)]
    is_exact = (abs(present) <= 2**53).all()  # larger whole numbers are names, and float64 does not tell them apart
    if is_exact and not wrong.any() and not any(isinstance(cell, str) and LEADING_ZERO.match(cell) for cell in cells):
        return [int(x) if x.is_integer() else float(x) for x in sorted(set(present.tolist()))]
    return sorted({level_key(cell) for cell in cells})


def guess_column(
    cells: Cells,
    name: str,
    form: NumberFormat,
    kind: str | None = None,
    date: str | None = None,
    cure: str = "drop the column, or list it in categories",
) -> Column:
    """Return the description of a column.

    Parameters
    ----------
    cells : Cells
    name : str
    form : NumberFormat
    kind : {"number", "category", "date"}, optional
        What the user says that it is.
    date : str, optional
        The format of dates.
    cure : str
        What to do if the column is to be used as it is.

    Raises
    ------
    TableError
        If a cell is of another kind than most, or if nearly all values of a column of text are different.
    """
    column = cells.column(name)
    present = column[~is_missing(column)].tolist()
    if not present:
        raise TableError(f"{cells.where(name=name)}: has no values; drop it")
    chosen = kind or _guess_kind(cells, name, column, form, cure)
    missing = len(present) < len(column)
    if chosen == "category":
        levels = levels_of(column, form)
        if kind is None:
            _check_levels(cells, name, len(levels), len(present), cure)
        return Column(name, chosen, tuple(levels), missing=missing)
    if chosen == "date" and date is None and _is_compact(name, column, form, asked=kind is not None):
        date = COMPACT
    described = Column(name, chosen, format=date, missing=missing)
    described.encode(cells, column, form)  # raises the errors of cells
    return described


def _guess_kind(cells: Cells, name: str, column: np.ndarray, form: NumberFormat, cure: str) -> str:
    present = column[~is_missing(column)].tolist()
    numbers, wrong = as_numbers(column, form)
    if not wrong.any():
        return "date" if looks_compact(name, numbers) else "number"
    if not as_days(column)[1].any():
        return "date"
    for expected, unlike in (("number", wrong), ("date", as_days(column)[1])):
        if 2 * unlike.sum() < len(present):
            row = int(unlike.argmax())
            raise TableError(
                f"{cells.where(row, name)}: {level_key(column[row])!r:.80} is not a {expected} as most cells of the column "
                f"are; correct it, add it to na_values if it means a missing value, or {cure}"
            )
    if all(isinstance(cell, str) and QUANTITY.fullmatch(cell) for cell in present):
        raise TableError(
            f"{cells.where(0, name)}: {present[0]!r} is a number with another sign, expected numbers alone; "
            f"remove the sign, or {cure}"
        )
    if all(isinstance(cell, str) and OTHER.fullmatch(cell) for cell in present):
        raise TableError(
            f"{cells.where(0, name)}: {present[0]!r} may be a date, of which only ISO 8601 is known; give its format, such as "
            f'dates = {{"{name}": "%d.%m.%Y"}}, or {cure}'
        )
    return "category"


def _check_levels(cells: Cells, name: str, levels: int, present: int, cure: str) -> None:
    """Refuse text that names the row, such as an identifier or a remark: a network would learn it by heart."""
    if levels > max(50, present // 10) or (present >= 10 and levels > 0.9 * present):
        example = listed([repr(cell) for cell in cells.column(name) if isinstance(cell, str)][:2])
        raise TableError(
            f"{cells.where(name=name)}: {levels:,} different texts in {present:,} rows ({example}) are no categories; make "
            f"the column the index, {cure}"
        )


def _is_compact(name: str, column: np.ndarray, form: NumberFormat, asked: bool) -> bool:
    numbers, wrong = as_numbers(column, form)
    return not wrong.any() and looks_compact("date" if asked else name, numbers)
