"""Files of tables, told apart by their content: text, Excel, Parquet, .npz, .npy, also packed with gzip, zip, bzip2 or xz.

path --read bytes, unpack--> text, Excel, Parquet, NumPy --> Cells
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.tables.cells import MISSING_WORDS, Cells, TableError, join_columns, listed, printable
from models.tables.frames import frame_cells, is_frame, is_gap
from models.tables.header import make_cells
from models.tables.text import read_text
from tinygrad_lab.checks import install_hint

PACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}

NOT_READ = {
    b"\xd0\xcf\x11\xe0": "an Excel file of before 2007 (.xls); save it as .xlsx or CSV",
    b"\x89HDF": "an HDF5 file; save it as Parquet or CSV",
    b"ARROW1": "a Feather file; save it as Parquet or CSV",
    b"%PDF": "a PDF; save its table as CSV",
    b"SQLite format 3": "a SQLite file; export its table as CSV",
    rb"\s*(\{|\[\s*[\[{])": "JSON; convert it to CSV or Parquet",
    rb"\s*<(!|\?|html|table)": "HTML or XML; save its table as CSV",
}

EXPECTED = "expected CSV or other text, Parquet, Excel (.xlsx), .npz or .npy"


OPTIONS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "delimiter": (str, "text"),
    "comment": (str, "text"),
    "encoding": (str, "text"),
    "header": (bool, "true or false"),
    "skip": (int, "a number of lines of at least 0"),
    "sheet": ((str, int), "a name or a number"),
}


def load_cells(table: Any, *, missing: Collection[str] = MISSING_WORDS, **options: Any) -> Cells:
    """Return the cells of a path, of several paths side by side, of a DataFrame, an array, or arrays by name.

    Parameters
    ----------
    table : path, sequence of paths, DataFrame, ndarray or mapping of str to ndarray
    missing : collection of str
        Cells that are no values.
    **options
        As for `read_cells`.

    Raises
    ------
    TableError
        If the table cannot be read, or an option is of the wrong type.
    """
    for key, (types, expected) in OPTIONS.items():
        value = options.get(key)
        is_right = value is None or (isinstance(value, types) and isinstance(value, bool) == (types is bool))
        if not is_right or (key == "skip" and value is not None and value < 0):
            raise TableError(f"{key} is {value!r}, expected {expected}")
    if isinstance(table, (str, os.PathLike)):
        return read_cells(table, missing=missing, **options)
    if isinstance(table, (list, tuple)) and table and all(isinstance(x, (str, os.PathLike)) or is_frame(x) for x in table):
        return join_columns([load_cells(part, missing=missing, **options) for part in table])
    if is_frame(table) or isinstance(table, (np.ndarray, Mapping)):
        return frame_cells(table, missing=missing)
    kind = f"{type(table).__module__}.{type(table).__name__}".removeprefix("builtins.")
    raise TableError(f"the table is of type {kind}, expected a path, paths, a DataFrame of pandas or an array")


def read_cells(path: str | os.PathLike[str], *, sheet: str | int | None = None, **options: Any) -> Cells:
    """Read a file.

    Parameters
    ----------
    path : path
    sheet : str or int, optional
        The sheet of an Excel file. By default there has to be one only.
    **options
        As for `read_text`.
    """
    source = os.path.basename(os.fspath(path))
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise TableError(f"{printable(os.fspath(path), 200)} cannot be read ({reason}); give the path of a table") from None
    try:
        return _read(source, content, sheet, options)
    except MemoryError:
        raise TableError(f"{source}: is too large for the memory of this machine; give a part of it") from None


def _read(source: str, content: bytes, sheet: str | int | None, options: Mapping[str, Any]) -> Cells:
    for start, unpack in PACKERS.items():
        if content.startswith(start):
            try:
                unpacked = unpack(content)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
                raise TableError(f"{source}: cannot be unpacked ({_reason(error)}); it is damaged or cut off") from None
            return _read(source, unpacked, sheet, options)
    if content.startswith(b"PK"):
        return _read_zip(source, content, sheet, options)
    if sheet is not None:
        raise TableError(f"{source}: sheet is {sheet!r}, and this is no Excel file (.xlsx); leave it out")
    missing = options.get("missing", MISSING_WORDS)
    if content.startswith(b"PAR1"):
        return _read_parquet(source, content, missing)
    if content.startswith(b"\x93NUMPY"):
        return frame_cells({"": _load_numpy(source, content)}, source, missing)
    for start, kind in NOT_READ.items():
        if re.match(start, content):
            raise TableError(f"{source}: is {kind}")
    if not content.strip():
        raise TableError(f"{source}: is empty, {EXPECTED}")
    return read_text(source, content, **options)


def _read_zip(source: str, content: bytes, sheet: str | int | None, options: Mapping[str, Any]) -> Cells:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        members = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
        is_excel = "[Content_Types].xml" in members
        is_numpy = bool(members) and all(name.endswith(".npy") for name in members)
        contents = [archive.read(name) for name in members] if is_numpy or len(members) == 1 else []
    except Exception as error:  # zipfile raises errors of many kinds for a damaged file
        raise TableError(f"{source}: cannot be unpacked ({_reason(error)}); it is damaged, cut off or encrypted") from None
    if is_excel:
        return _read_excel(source, content, sheet, options)
    if is_numpy:
        arrays = {
            name.removesuffix(".npy"): _load_numpy(f"{source}, {name}", array)
            for name, array in zip(members, contents, strict=True)
        }
        return frame_cells(arrays, source, options.get("missing", MISSING_WORDS))
    if len(members) != 1:
        raise TableError(f"{source}: has {len(members)} files ({listed(members)}), expected one; unpack it")
    return _read(f"{source}, {members[0]}", contents[0], sheet, options)


def _load_numpy(source: str, content: bytes) -> np.ndarray:
    try:
        return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # NumPy raises errors of many kinds for a damaged header
        reason = "it holds Python objects" if "pickle" in str(error) else _reason(error)
        raise TableError(f"{source}: cannot be read ({reason}), expected an array of numbers or text") from None


def _pandas(source: str, kind: str) -> Any:
    try:
        import pandas
    except ImportError:
        raise TableError(f"{source}: {kind} are read by pandas, which is missing; {install_hint('tables')}") from None
    return pandas


def _read_excel(source: str, content: bytes, sheet: str | int | None, options: Mapping[str, Any]) -> Cells:
    pandas = _pandas(source, "Excel files")
    refused = [key for key in ("delimiter", "comment", "encoding") if options.get(key) is not None]
    if refused:
        raise TableError(f"{source}: {refused[0]} is for text, and this is an Excel file; leave it out")
    try:
        book = pandas.ExcelFile(io.BytesIO(content), engine="openpyxl")
        if sheet is None and len(book.sheet_names) > 1:
            raise TableError(
                f"{source}: has the sheets {listed(book.sheet_names)}; give sheet, such as {book.sheet_names[0]!r}"
            )
        name = book.sheet_names[0] if sheet is None else book.sheet_names[sheet] if isinstance(sheet, int) else sheet
        if name not in book.sheet_names:
            raise TableError(f"{source}: no sheet {name!r}, expected {listed(book.sheet_names)}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # openpyxl warns of what it does not keep, such as colours
            options_of_cells: dict[str, Any] = {"header": None, "dtype": object, "keep_default_na": False, "na_values": []}
            grid = pandas.read_excel(book, sheet_name=name, **options_of_cells).to_numpy(object)
            empty = np.array([is_gap(cell) or cell == "" for cell in grid.ravel()], bool).reshape(grid.shape)
            if empty.any():
                formulas = {"engine": "openpyxl", "engine_kwargs": {"data_only": False}}
                written = pandas.read_excel(io.BytesIO(content), sheet_name=name, **options_of_cells, **formulas)
                _refuse_formulas(source, empty, written.to_numpy(object))
    except TableError:
        raise
    except ImportError:
        raise TableError(f"{source}: Excel files need openpyxl, which is missing; {install_hint('tables')}") from None
    except IndexError:
        raise TableError(f"{source}: no sheet {sheet}, expected a number below {len(book.sheet_names)}") from None
    except Exception as error:  # openpyxl raises errors of many kinds for a damaged file
        raise TableError(f"{source}: cannot be read as Excel ({_reason(error)}); save it again, or as CSV") from None
    missing = options.get("missing", MISSING_WORDS)
    rows = [(number, [None if is_gap(cell) else cell for cell in row]) for number, row in enumerate(grid, 1)]
    rows = [row for row in rows[options.get("skip", 0) :] if any(cell is not None for cell in row[1])]
    return make_cells(source, rows, "row", "", options.get("header"), missing, options.get("known", ()))


def _refuse_formulas(source: str, empty: np.ndarray, written: np.ndarray) -> None:
    """Refuse formulas whose result is not in the file: programs other than Excel may leave it out."""
    for row, column in np.argwhere(empty):
        formula = written[row, column] if row < len(written) and column < written.shape[1] else None
        if isinstance(formula, str) and formula.startswith("="):
            raise TableError(
                f"{source}, row {row + 1}, column {column + 1}: {formula!r:.80} has no result in the file; open and save it in "
                "Excel"
            )


def _read_parquet(source: str, content: bytes, missing: Container[str]) -> Cells:
    pandas = _pandas(source, "Parquet files")
    try:
        frame = pandas.read_parquet(io.BytesIO(content))
    except ImportError:
        raise TableError(f"{source}: Parquet files need pyarrow, which is missing; {install_hint('tables')}") from None
    except Exception as error:  # pyarrow raises errors of many kinds for a damaged file
        raise TableError(f"{source}: cannot be read as Parquet ({_reason(error)}); it is damaged or cut off") from None
    return frame_cells(frame, source, missing)


def _reason(error: Exception) -> str:
    """Return the message of another library as one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return (text if len(text) <= 120 else f"{text[:120]}...").rstrip(".")
