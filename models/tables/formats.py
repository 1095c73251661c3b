"""How a table writes its numbers: the decimal sign and the sign between thousands. They are guessed from all columns together.

cells --guess_format--> NumberFormat(",", ".") --parse--> 1234.5

*Is 1,234 a thousand or a bit more than one?* The other cells decide: 1,5 has a decimal comma, and 1,234,567 or 2.5 has none.
If nothing decides, the table is refused rather than read with a factor of a thousand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from models.tables.cells import Cells, TableError, is_missing

PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
SAMPLE = 1000
PLAIN_SIGNS = frozenset("0123456789+-.eE")
BLANKS = " \u00a0\u202f\u2009"
OTHER_SIGNS = re.compile(rf"[,'{BLANKS}]|\.\d*\.")
"""What a number of another format than the plain one has."""

MINUS = str.maketrans("\u2212", "-")


@dataclass(frozen=True)
class NumberFormat:
    """The signs in numbers.

    Parameters
    ----------
    decimal : {".", ","}
    thousands : {"", ",", ".", " ", "'"}
        The sign between groups of three digits, which may be left out. The blank stands for all kinds of blanks.

    Examples
    --------
    >>> NumberFormat(",", ".").parse("1.234,5"), NumberFormat(".", ",").parse("1,234.5"), NumberFormat().parse("1,5")
    (1234.5, 1234.5, None)
    >>> print(NumberFormat(",", "."))
    decimal comma, '.' between thousands
    """

    decimal: str = "."
    thousands: str = ""

    def __str__(self) -> str:
        sign = "comma" if self.decimal == "," else "point"
        return f"decimal {sign}" + (f", {self.thousands!r} between thousands" if self.thousands else "")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        decimal = re.escape(self.decimal)
        whole = r"\d+"
        if self.thousands:
            sign = f"[{BLANKS}]" if self.thousands == " " else re.escape(self.thousands)
            whole = rf"([1-9]\d{{0,2}}(?:{sign}\d{{3}})+|\d+)"
        return re.compile(rf"[+-]?({whole}(?:{decimal}\d*)?|{decimal}\d+)([eE][+-]?\d+)?", re.ASCII)

    def fits(self, cell: str) -> bool:
        """Whether a cell is a number in this format."""
        return self._pattern.fullmatch(cell.translate(MINUS)) is not None

    def parse(self, cell: str) -> float | None:
        """Return the number in a cell, or None if there is none."""
        cell = cell.translate(MINUS)
        if self._pattern.fullmatch(cell) is None:
            return None
        for sign in BLANKS if self.thousands == " " else self.thousands:
            cell = cell.replace(sign, "")
        return float(cell.replace(self.decimal, "."))


FORMATS = [NumberFormat(decimal, sign) for decimal in ".," for sign in ("", ",", ".", " ", "'") if sign != decimal]


def with_numbers(cells: Cells, names: Iterable[str], form: NumberFormat) -> Cells:
    """Return cells in which the columns of numbers among `names` are float64, so that no text is converted twice."""
    names = set(names)
    columns = []
    for name, column in zip(cells.names, cells.columns, strict=True):
        if name in names and column.dtype.kind == "O":
            numbers, wrong = as_numbers(column, form)
            column = column if wrong.any() or is_missing(column).all() else numbers
        columns.append(column)
    return replace(cells, columns=tuple(columns))


def without_numbers(cells: Cells, words: Iterable[str], form: NumberFormat) -> Cells:
    """Return cells in which the numbers among some words are missing values. -999 stands for all ways to write it."""
    numbers = [float(word) for word in words if PLAIN.fullmatch(word)]
    if not numbers:
        return cells
    columns = []
    for column in cells.columns:
        if column.dtype.kind == "f":
            columns.append(np.where(np.isin(column, numbers), np.nan, column))
        else:
            values, _ = as_numbers(column, form)
            column = column.copy()
            column[np.isin(values, numbers)] = None
            columns.append(column)
    return replace(cells, columns=tuple(columns))


def as_numbers(cells: np.ndarray, form: NumberFormat) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers in cells, and which cells hold something else.

    Returns
    -------
    numbers : float64 ndarray
        nan where a value is missing, or is no number.
    wrong : bool ndarray
    """
    if cells.dtype.kind == "f":
        return cells, np.zeros(len(cells), bool)
    numbers = np.full(len(cells), np.nan)
    wrong = np.zeros(len(cells), bool)
    plain = form.decimal == "."
    texts = [cell for cell in cells if cell is not None]
    if plain and all(type(cell) is str for cell in texts) and set("".join(texts)) <= PLAIN_SIGNS:
        with suppress(ValueError):  # all are plain numbers, as a rule, and a column is converted at once
            numbers[~is_missing(cells)] = list(map(float, texts))
            return numbers, wrong
    for i, cell in enumerate(cells):
        if cell is None:
            continue
        if isinstance(cell, str):
            number = float(cell) if plain and PLAIN.fullmatch(cell) else form.parse(cell)
            if number is None:
                number, wrong[i] = _infinite(cell)
            numbers[i] = number
        elif is_number(cell):
            numbers[i] = float(cell)
        else:
            wrong[i] = True
    return numbers, wrong


def _infinite(cell: str) -> tuple[float, bool]:
    """Return an infinity as one, so that the message can say that the value is infinite, rather than no number."""
    return (float(cell), False) if cell.lower().lstrip("+-") in ("inf", "infinity") else (np.nan, True)


def is_number(cell: Any) -> bool:
    """Whether a cell that is no text holds a real number."""
    return isinstance(cell, (int, float, np.integer, np.floating)) and not isinstance(cell, bool)


def joined(column: np.ndarray) -> str:
    """Return the texts of a column in one, which is faster to search than each by itself."""
    return "\n".join(cell for cell in column if isinstance(cell, str))


def guess_format(cells: Cells, decimal: str | None = None, thousands: str | None = None) -> NumberFormat:
    """Return the format of the numbers of a table.

    Parameters
    ----------
    cells : Cells
    decimal, thousands : str, optional
        What is known of it.

    Raises
    ------
    TableError
        If the cells allow two formats that read other numbers, or two columns have different ones.
    """
    if decimal not in (None, ".", ","):
        raise TableError(f"decimal is {decimal!r}, expected '.' or ','")
    if thousands not in (None, "", ",", ".", " ", "'") or (thousands and thousands == decimal):
        raise TableError(f"thousands is {thousands!r}, expected ',', '.', ' ', \"'\" or '', and not the decimal sign")
    known = [x for x in FORMATS if decimal in (None, x.decimal) and thousands in (None, x.thousands)]
    plain = NumberFormat()
    texts = {name: column for name, column in zip(cells.names, cells.columns, strict=True) if column.dtype.kind == "O"}
    if plain in known:  # only a column that is not plain can show another format
        others = [column for column in texts.values() if OTHER_SIGNS.search(joined(column))]
        if not any(_fitting(known, list(islice(_uncommon(column), SAMPLE))) for column in others):
            return plain
    possible = known
    seen = [("", "")]
    for name, column in texts.items():
        sample = list(islice(_uncommon(column), SAMPLE))
        fitting = _fitting(known, sample)
        if fitting and len(fitting) < len(known):
            remaining = [x for x in possible if x in fitting]
            if not remaining:
                other, cell = seen[-1]
                raise TableError(
                    f"{cells.source}: column {name!r} has {sample[0]!r} and column {other!r} has {cell!r}, which are numbers "
                    "of two formats; give decimal and thousands, and the others become text"
                )
            possible = remaining
            seen.append((name, sample[0]))
    _refuse_ambiguity(cells, possible, seen)
    return possible[0]


def _uncommon(column: np.ndarray) -> Iterator[str]:
    """Iterate over the cells with a sign that may belong to a number, and that not all formats read alike."""
    for cell in column:
        if isinstance(cell, str) and len(cell) < 40 and not cell.isdigit() and any(sign in cell for sign in ",.'" + BLANKS):
            yield cell


def _fitting(known: Iterable[NumberFormat], texts: list[str]) -> list[NumberFormat]:
    """Return the formats in which most of these cells are numbers, if the column is one of numbers."""
    counts = {form: sum(map(form.fits, texts)) for form in known}
    most = max(counts.values(), default=0)
    return [form for form, count in counts.items() if count == most] if most and 2 * most >= len(texts) else []


def _refuse_ambiguity(cells: Cells, possible: list[NumberFormat], seen: list[tuple[str, str]]) -> None:
    """Refuse cells that are numbers with a decimal point and others with a decimal comma, unless commas delimit the file."""
    first = possible[0]
    if len(seen) == 1 or first.decimal != "." or first.thousands != "," or cells.delimiter == ",":
        return
    name, cell = seen[1]
    readings = {form: form.parse(cell) for form in possible if form.decimal == ","}
    for form, number in readings.items():
        if number is not None and number != first.parse(cell):
            raise TableError(
                f"{cells.source}, column {name!r}: {cell!r} may be {first.parse(cell):.15g} or {number:.15g}; "
                f'give decimal = "{form.decimal}", or thousands = ","'
            )
