"""Tables in memory: DataFrames, arrays, and arrays by name.

DataFrame, array, mapping --frame_cells--> Cells
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np

from models.tables.cells import MISSING_WORDS, Cells, TableError, objects


def is_frame(table: Any) -> bool:
    """Whether `table` is a DataFrame of pandas."""
    return type(table).__module__.partition(".")[0] == "pandas" and hasattr(table, "columns")


def frame_cells(table: Any, source: str = "frame", missing: Container[str] = MISSING_WORDS) -> Cells:
    """Return the cells of a DataFrame, of an array with two axes, or of arrays by name.

    The columns of an array are called 0, 1, .... Those of an array with a name in a mapping are called x0, x1, ..., or by the
    name itself if it has one axis.
    """
    if is_frame(table):
        names = [", ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in table.columns]
        columns = [table.iloc[:, i] for i in range(len(names))]
        lines = objects(list(table.index))
    else:
        names, columns = _array_columns(table if isinstance(table, Mapping) else {"": table}, source)
        lines = np.arange(len(columns[0]) if columns else 0)
    if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise TableError(f"{source}: two columns have the name {twice!r}, expected different names")
    if not len(lines) or not names:
        raise TableError(f"{source}: has {len(lines)} rows and {len(names)} columns, expected at least one of each")
    cells = [_column_cells(source, name, column, missing, lines) for name, column in zip(names, columns, strict=True)]
    kinds = {name: "category" for name, column in zip(names, columns, strict=True) if str(column.dtype) == "category"}
    return Cells(source, tuple(names), tuple(cells), lines, "row", kinds=kinds)


def _array_columns(arrays: Mapping[str, Any], source: str) -> tuple[list[str], list[np.ndarray]]:
    names: list[str] = []
    columns: list[np.ndarray] = []
    for key, given in arrays.items():
        array = np.asarray(given)
        if array.dtype.names:
            names += [f"{key}{field}" for field in array.dtype.names]
            columns += [array[field].reshape(len(array), -1)[:, 0] for field in array.dtype.names]
        elif array.ndim == 1:
            names.append(str(key) or "0")
            columns.append(array)
        elif array.ndim == 2:
            names += [f"{key}{i}" for i in range(array.shape[1])]
            columns += list(array.T)
        else:
            raise TableError(f"{source}: {key or 'the array'} has shape {array.shape}, expected (rows,) or (rows, columns)")
    if len({len(column) for column in columns}) > 1:
        sizes = ", ".join(f"{name} {len(column)}" for name, column in zip(names, columns, strict=True))
        raise TableError(f"{source}: the arrays have different lengths ({sizes}), expected one length")
    return names, columns


def _check_kinds(source: str, name: str, cells: np.ndarray, lines: np.ndarray) -> np.ndarray:
    for row, cell in enumerate(cells):
        if cell is not None and not isinstance(cell, (str, bool, Real, Decimal, date, np.datetime64)):
            raise TableError(
                f"{source}, row {lines[row]}, column {name!r}: holds a {type(cell).__name__}, expected numbers, text or dates; "
                "convert or drop the column"
            )
    return objects([float(cell) if isinstance(cell, (Decimal, Fraction)) else cell for cell in cells])


def _column_cells(source: str, name: str, column: Any, missing: Container[str], lines: np.ndarray) -> np.ndarray:
    """Return the cells of a Series or an array. Columns of complex numbers and durations have no meaning here."""
    kind = getattr(column.dtype, "kind", "O")
    if kind in "cm":
        what = "complex numbers" if kind == "c" else "durations"
        raise TableError(f"{source}: column {name!r} holds {what}, expected numbers, text or dates; convert or drop it")
    is_series = hasattr(column, "to_numpy")
    if kind in "fiu":
        numbers = column.to_numpy(float, na_value=np.nan) if is_series else column.astype(float)
        # float64 rounds larger integers. They are names as a rule, so they stay as they are.
        if kind == "f" or not (abs(numbers) > 2**53).any():
            return numbers
    if kind == "M" and not is_series:
        column = column.astype("datetime64[us]")
    values = column.to_numpy(object) if is_series else column.astype(object)
    if str(column.dtype) == "category":  # such as the intervals of pandas.cut
        values = [value if isinstance(value, (str, bool, Real)) or is_gap(value) else str(value) for value in values]
    return _check_kinds(source, name, objects([_present(value, missing) for value in values]), lines)


def is_gap(value: Any) -> bool:
    """Whether a value is None, nan, or NaT or NA of pandas."""
    is_nan = isinstance(value, (float, np.floating)) and value != value
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _present(value: Any, missing: Container[str]) -> Any:
    """Return a cell as it is, or None if its value is missing: None, nan, NaT, NA or a word for it."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        value = value.strip()
        return None if value in missing else value
    if is_gap(value):
        return None
    return bool(value) if isinstance(value, np.bool_) else value
