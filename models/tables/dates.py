"""Dates as days since 1970-01-01.

"2024-02-29", 20240229, datetime, "29.02.2024" with "%d.%m.%Y" --as_days--> 19782.0
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np

from models.tables.cells import is_missing
from models.tables.formats import is_number

EPOCH = datetime(1970, 1, 1)
ISO = re.compile(r"\d{4}[-/]\d{1,2}([-/]\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?)?)? ?(Z|[+-]\d{2}:?\d{2})?", re.ASCII)
OTHER = re.compile(
    r"\d{1,4}[./ -](\d{1,2}|[A-Za-z]{3,9})\.?[./ -]\d{2,4}([T ].*)?|[A-Za-z]{3,9}[ -]\d{1,2}[, -]\s?\d{4}", re.ASCII
)
COMPACT = "%Y%m%d"
"""The format of 19580329, which is a date if the name of the column says so, or if it is asked for."""


def as_days(cells: np.ndarray, form: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the days since 1970-01-01 of cells, and which cells are no dates.

    Parameters
    ----------
    cells : ndarray of objects
        Text, numbers such as 19580329, or dates. None is a missing value.
    form : str, optional
        The format of text and numbers, as of `datetime.strptime`. By default ISO 8601, such as 2024-02-29 or
        2024-02-29 12:30.

    Returns
    -------
    days : float64 ndarray
        nan where a value is missing, or is no date. A time with an offset counts in UTC.
    wrong : bool ndarray

    Examples
    --------
    >>> as_days(np.array(["1970-01-02 12:00", None, "soon"], object))
    (array([1.5, nan, nan]), array([False, False,  True]))
    """
    days = np.full(len(cells), np.nan)
    wrong = np.zeros(len(cells), bool)
    for i in np.flatnonzero(~is_missing(cells)):
        moment = _moment(cells[i], form)
        wrong[i] = moment is None
        if moment is not None:
            days[i] = (moment - EPOCH).total_seconds() / 86400
    return days, wrong


def _moment(cell: Any, form: str | None) -> datetime | None:
    try:
        if isinstance(cell, np.datetime64):
            cell = cell.astype("datetime64[us]").item()
        if is_number(cell) and form is not None and float(cell).is_integer():
            cell = str(int(cell))
        if isinstance(cell, str):
            cell = _parse(cell, form)
        elif isinstance(cell, date) and not isinstance(cell, datetime):
            cell = datetime.combine(cell, time())
        if not isinstance(cell, datetime):
            return None
        return cell if cell.tzinfo is None else cell.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def _parse(text: str, form: str | None) -> datetime | None:
    if form is not None:
        return datetime.strptime(text if form.endswith("%f") else text.removesuffix(".0"), form)
    if ISO.fullmatch(text) is None:
        return None
    day, separator, clock = text.replace("/", "-").replace("T", " ").partition(" ")
    parts = [int(part) for part in day.split("-")]
    iso = "-".join(f"{part:02}" for part in [*parts, 1][:3])
    return datetime.fromisoformat(f"{iso}T{clock.strip().replace(',', '.').zfill(5)}" if separator else iso)


def looks_compact(name: str, numbers: np.ndarray) -> bool:
    """Whether a column of numbers holds dates such as 19580329: its name has "date" in it, and all numbers are such dates."""
    present = numbers[~np.isnan(numbers)]
    if "date" not in name.casefold() or not ((present >= 1600_01_01) & (present <= 2200_12_31)).all():
        return False
    return not as_days(present.astype(object), COMPACT)[1].any()
