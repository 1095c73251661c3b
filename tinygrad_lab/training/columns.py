"""Columns of numbers: tables and arrays of objects as arrays of numbers, or an error that names the column.

DataFrame, list, array of objects --column by column--> float64, or "x holds 'Paris' at (0, 1), column 'city', expected ..."
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np


def as_numbers(name: str, data: Any) -> Any:
    """Return the data as NumPy can read them: a table, or values of several types, as one array of numbers.

    Parameters
    ----------
    name : str
        What the error messages call the data.
    data : array_like or table
        A table has `columns` and `to_numpy`, such as pandas' DataFrame.

    Raises
    ------
    TypeError
        If the data are a sparse matrix, or a value is no real number.
    ValueError
        If there is a gap (None, NaN or NA) among values that are not all floats.

    Examples
    --------
    >>> as_numbers("x", [[1, True], [2.5, False]])
    [[1, True], [2.5, False]]
    >>> as_numbers("x", [[1, "Paris"], [2, "Rome"]])
    Traceback (most recent call last):
    TypeError: x holds 'Paris' at (0, 1), expected real numbers; encode text as numbers, or read the table with ...
    """
    if hasattr(data, "toarray") and hasattr(data, "nnz"):
        kind, shape = type(data).__name__, data.shape
        raise TypeError(f"{name} is a sparse {kind} of shape {shape}, expected a dense array, such as {name}.toarray()")
    labels = labels_of(data)
    if labels:
        columns = [data.iloc[:, i] if hasattr(data, "iloc") else data[label] for i, label in enumerate(labels)]
        arrays = [_numbers(name, np.asarray(column), i, labels) for i, column in enumerate(columns)]
        return np.stack(arrays, axis=1)
    try:
        array = np.asarray(data)
        if array.dtype.kind in "US" and not isinstance(data, np.ndarray):
            array = np.asarray(data, dtype=object)  # NumPy has made strings of the numbers too
    except ValueError:  # it is ragged
        return data
    if array.dtype.kind not in "OUS" or not array.size or not array.ndim:
        return data
    if array.ndim == 1:
        return _numbers(name, array)
    rows = array.reshape(len(array), -1)
    return np.stack([_numbers(name, rows[:, i], i) for i in range(rows.shape[1])], axis=1).reshape(array.shape)


def labels_of(data: Any) -> list[Any]:
    """Return the names of a table's columns; none if it is no table."""
    return list(data.columns) if hasattr(data, "columns") and hasattr(data, "to_numpy") else []


def _numbers(name: str, column: np.ndarray, number: int | None = None, labels: Sequence[Any] = ()) -> np.ndarray:
    """Return one column as numbers."""
    if column.dtype.kind in "fiub":
        return column
    label = f"column {labels[number]!r}" if labels and number is not None else ""
    if column.dtype.kind not in "OUS":
        raise TypeError(f"{name} has dtype {column.dtype}{label and f' in {label}'}, expected real numbers")
    for row, value in enumerate(column.tolist()):
        where = f"at {(row,) if number is None else (row, number)}{label and f', {label}'}"
        if value is None or type(value).__name__ in ("NAType", "NaTType"):
            raise ValueError(f"{name} holds {value} {where}, expected finite numbers; fill gaps, or use models.read_table")
        if not isinstance(value, (Real, Decimal, np.bool_)):
            raise TypeError(
                f"{name} holds {value!r} {where}, expected real numbers; "
                "encode text as numbers, or read the table with models.read_table"
            )
    return column.astype(np.float64)
