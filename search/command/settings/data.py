"""The table that is searched, and its test table: plain numbers, or any table that `models.read_table` reads.

train.csv, [data] --only plain keys, only numbers--> NumPy                    --> PlainTable, whose last columns are y
                  --otherwise-----------------------> models.read_table --> Table: columns by name, categories, gaps, ...
"""

import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.npyio import DataSource

from search.command.settings.builders import own_models
from search.command.settings.keys import PLAIN_DATA, SettingsError, checked, shown
from search.command.terminal import notes_of_warnings
from search.errors import message_line
from search.trials.data import Array, as_samples

COMMENTS = ["# ", "#\n"]  # not "#", with which the errors of a spreadsheet begin: #N/A, #DIV/0!
READER_KEYS = ("delimiter", "header", "skip", "comment", "encoding", "sheet")  # how to read a file of the same kind
OTHER_FILES = (".parquet", ".xlsx", ".xls", ".npz", ".npy", ".zip")


class PlainTable(NamedTuple):
    """The samples of a table of numbers. Their columns have no names."""

    x: Array
    y: Array


@dataclass(frozen=True)
class DataSettings:
    """The table [data], checked.

    Attributes
    ----------
    train : Path or list of Path
        Several files are joined side by side.
    test : Path, list of Path or None
    options : dict
        The remaining keys and their values.
    """

    train: Path | list[Path]
    test: Path | list[Path] | None
    options: Mapping[str, Any]

    @property
    def is_plain(self) -> bool:
        """Whether the table has only numbers, of which the last columns are y. Otherwise, [data] says more about it."""
        files = [path for path in (self.train, self.test) if path is not None]
        if not all(isinstance(path, Path) and path.suffix.lower() not in OTHER_FILES for path in files):
            return False
        return self.options.keys() <= PLAIN_DATA.keys()

    def read(self) -> tuple[Any, Any]:
        """Return the training table and the test table, which is None if there is none. Each has attributes x and y.

        Raises
        ------
        SettingsError
            If one cannot be read, or they do not fit together.
        """
        if self.is_plain and isinstance(self.train, Path) and not isinstance(self.test, list):
            train = self._plain("train", self.train)
            test = None if self.test is None else self._plain("test", self.test)
            if test is not None and test.x.shape[1] != train.x.shape[1]:
                raise SettingsError(
                    f"data.test: {self.test} has {test.x.shape[1] + test.y.shape[1]} columns, "
                    f"expected {train.x.shape[1] + train.y.shape[1]}, as in {self.train}"
                )
            return train, test
        train = self._table("train", self.train)
        return train, None if self.test is None else self._table("test", self.test, like=train)

    def read_numbers(self, path: Path) -> Array:
        """Return a plain table with the layout of the training table, whatever its columns mean.

        Raises
        ------
        SettingsError
            If it cannot be read, has no rows, or has a cell that is no finite number.
        """
        delimiter, header = self.options.get("delimiter", ","), self.options.get("header", False)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # loadtxt warns of a table without rows, which is refused below
                table = np.loadtxt(
                    path, delimiter=delimiter, skiprows=int(header), comments=COMMENTS, ndmin=2, encoding="utf-8-sig"
                )
        except OSError as error:
            raise SettingsError(f"{path} cannot be read ({error.strerror or 'there is none'}); give a table") from None
        except (EOFError, zlib.error) as error:
            raise SettingsError(f"{path} cannot be unpacked ({message_line(error)}); it is damaged or cut off") from None
        except UnicodeDecodeError:
            raise SettingsError(
                f"{path} is no text in UTF-8; give data.target, and data.encoding if it is not recognised then"
            ) from None
        except ValueError as error:
            raise SettingsError(first_fault(path, delimiter, header) or f"{path}: {message_line(error)}") from None
        if not table.size:
            raise SettingsError(f"{path} has no rows, expected a table of numbers")
        if not np.isfinite(table).all():
            raise SettingsError(first_fault(path, delimiter, header))
        return table

    def _plain(self, key: str, path: Path) -> PlainTable:
        outputs = self.options.get("outputs", 1)
        try:
            table = self.read_numbers(path)
        except SettingsError as error:
            raise SettingsError(f"data.{key}: {error}") from None
        if table.shape[1] <= outputs:
            raise SettingsError(
                f"data.{key}: {path} has {table.shape[1]} columns, of which data.outputs = {outputs} are y; expected more"
            )
        return PlainTable(*as_samples(table[:, :-outputs], table[:, -outputs:]))

    def _table(self, key: str, path: Path | list[Path], like: Any = None) -> Any:
        models = own_models()
        try:
            with notes_of_warnings():
                if like is not None:
                    return like.like(path, **{key: value for key, value in self.options.items() if key in READER_KEYS})
                options = dict(self.options)
                if outputs := options.pop("outputs", 0):
                    options["target"] = list(range(-outputs, 0))
                return models.read_table(path, verbose=False, **options)
        except (TypeError, ValueError, ImportError, OSError) as error:
            raise SettingsError(f"data.{key}: {message_line(error)}") from None


def first_fault(path: Path, delimiter: str, header: bool) -> str:
    r"""Return what is wrong with the first line that is no row of finite numbers, and a cure; an empty text if none is.

    Parameters
    ----------
    path : Path
        Of a text in UTF-8, which may be compressed, as NumPy reads it.
    delimiter : str
    header : bool
        Whether the first line has the names of the columns.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "t.csv")
    ...     _ = path.write_text("a,b\n1,2\n\n3,x\n")
    ...     print(first_fault(path, ",", header=True).removeprefix(folder))
    /t.csv, line 4, column 'b': 'x' is no finite number; correct it, or give data.target: then text, gaps and ...
    """
    names: list[str] = []
    first, width = 0, 0
    with DataSource(None).open(str(path), "rt", encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            content = line.partition(COMMENTS[0])[0].partition(COMMENTS[1])[0].removesuffix("\n")
            cells = content.split(delimiter)
            if header and number == 1:
                names = [cell.strip() for cell in cells]
                continue
            if not content.strip():
                continue
            if not first:
                first, width = number, len(cells)
            wrong = next((i for i, cell in enumerate(cells) if not _is_finite(cell)), None)
            if wrong is not None:
                where = f"column {names[wrong]!r}" if wrong < len(names) else f"column {wrong + 1}"
                fault = f"{path}, line {number}, {where}: {shown(cells[wrong].strip())} is no finite number"
                return f"{fault}; {_cure(cells[wrong], number == first and not header)}"
            if len(cells) != width:
                return f"{path}, line {number} has {len(cells)} columns, expected {width}, as in line {first}; correct it"
    return ""


def _is_finite(cell: str) -> bool:
    try:
        return isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


def _cure(cell: str, may_be_header: bool) -> str:
    if others := [sign for sign in ";\t|" if sign in cell]:
        return f"is data.delimiter = {others[0]!r} missing?"
    if may_be_header:
        return 'if it is the name of a column, give data.header = true, or data.target = "NAME" for the column to predict'
    return "correct it, or give data.target: then text, gaps and decimal commas are read too"


def read_data(given: Mapping[str, Any], folder: Path) -> DataSettings:
    """Read [data]. The files themselves are read by `DataSettings.read`.

    Raises
    ------
    SettingsError
        If a key is unknown, has a wrong value, or contradicts another one.

    Examples
    --------
    >>> read_data({"train": "train.csv", "target": "price"}, Path("/house"))
    DataSettings(train=PosixPath('/house/train.csv'), test=None, options={'target': 'price'})
    """
    options = dict(checked(given, "data."))
    if "train" not in options:
        raise SettingsError('no data.train, expected the name of a table, such as train = "train.csv"')
    if options.get("outputs", 1) < 1:
        raise SettingsError(f"data.outputs = {options['outputs']}, expected at least 1")
    delimiter = options.get("delimiter", ",")
    if len(delimiter) != 1 or delimiter in "\n\r#":
        raise SettingsError(f"data.delimiter = {delimiter!r}, expected one character, such as ';'")
    train, test = options.pop("train"), options.pop("test", None)
    if "outputs" in options and "target" in options:
        raise SettingsError("data.outputs and data.target are given, expected one of the two")
    return DataSettings(_paths("train", train, folder), None if test is None else _paths("test", test, folder), options)


def _paths(key: str, given: str | list[Any], folder: Path) -> Path | list[Path]:
    names = [given] if isinstance(given, str) else given
    if not names or not all(isinstance(name, str) and name and "\0" not in name for name in names):
        raise SettingsError(f"data.{key} = {shown(given)}, expected the name of a file, or a list of names")
    return folder / given if isinstance(given, str) else [folder / name for name in names]
