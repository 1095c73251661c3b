"""A table that is read: features, targets, groups and weights as arrays, and a description of their meaning.

path, DataFrame --read_table--> Table --builder--> build(configuration, rng) --> Trainer
                                      --model(predictor)--> TableModel
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.tables.builder import TableBuilder
from models.tables.cells import MISSING_WORDS, Cells, TableWarning, count, listed
from models.tables.columns import Column, Level
from models.tables.description import Description, describe
from models.tables.files import load_cells
from models.tables.formats import guess_format, without_numbers
from models.tables.model import TableModel
from models.tables.roles import Names, Roles, group_codes, row_names, row_weights
from models.tables.targets import with_target
from tinygrad_lab import Predictor


@dataclass(frozen=True, eq=False)
class Table:
    """Samples with a description of their columns. `read_table` makes one.

    Attributes
    ----------
    x : float64 ndarray of shape (rows, features)
        Numbers, codes of categories, and days since 1970-01-01 for dates. nan where a value is missing, -1 for a category that
        the described table did not have.
    y : ndarray
        float64 of shape (rows, targets), which are 0 or 1 for "multilabel". For a classification, the codes of the classes as
        int64 of shape (rows,).
    description : Description
    groups : int64 ndarray of shape (rows,), or None
    weight : float64 ndarray of shape (rows,), or None
    index : ndarray of shape (rows,)
        The name of each row: the cells of the index columns, or else the line or label of each row.
    source : str
        The name of the file.
    group_name : str or None
        The name of the column of groups.
    drops_missing_target : bool
        Whether rows without a target are left out.
    notes : tuple of str
        What was guessed or left out.

    Examples
    --------
    >>> import pandas
    >>> from models import read_table
    >>> frame = pandas.DataFrame({"size": [1.0, 2.0, 4.0], "color": ["red", "blue", "red"], "price": [1.5, 2.5, 4.0]})
    >>> table = read_table(frame, target="price")
    3 samples, 2 features (1 number, 1 category with 2 levels), y = price (regression)
    >>> table.x
    array([[1., 1.],
           [2., 0.],
           [4., 1.]])
    >>> table.y.ravel()
    array([1.5, 2.5, 4. ])
    """

    x: np.ndarray
    y: np.ndarray
    description: Description
    groups: np.ndarray | None
    weight: np.ndarray | None
    index: np.ndarray
    source: str
    group_name: str | None = None
    drops_missing_target: bool = False
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The descriptions of the features."""
        return self.description.columns

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features."""
        return self.description.features

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the targets."""
        return self.description.targets

    @property
    def task(self) -> str:
        """The task: "regression", "classification" or "multilabel"."""
        return self.description.task

    @property
    def classes(self) -> tuple[Level, ...] | None:
        """The labels of a classification, in the order of their codes."""
        return self.description.classes

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """Return one line on what was read."""
        kinds = Counter(column.kind for column in self.columns)
        words = []
        for kind, plural in (("number", ""), ("category", "categories"), ("date", "")):
            if kinds[kind]:
                words.append(count(kinds[kind], kind, plural))
            if kind == "category" and kinds[kind]:
                sizes = sorted({len(column.levels) for column in self.columns if column.kind == kind})
                words[-1] += f" with {sizes[0]:,} to {sizes[-1]:,} levels" if sizes[1:] else f" with {count(sizes[0], 'level')}"
        task = self.task if self.classes is None else f"{self.task}, {len(self.classes)} classes"
        line = f"{count(len(self), 'sample')}, {count(len(self.columns), 'feature')} ({', '.join(words)}), y = "
        line += f"{listed(self.targets)} ({task})"
        if self.groups is not None:
            line += f", {count(len(np.unique(self.groups)), 'group')} by {self.group_name}"
        if self.weight is not None:
            line += ", weighted"
        missing = int(np.isnan(self.x).sum())
        if missing:
            line += f", {count(missing, 'missing value')} in {count(np.isnan(self.x).any(axis=0).sum(), 'column')}"
        return line

    def builder(self, **defaults: Any) -> TableBuilder:
        """Return a function from a configuration and a Generator to a Trainer of this table. It can be pickled.

        Parameters
        ----------
        **defaults
            Values for the hyper-parameters that a configuration does not have; `TableBuilder` lists them.
        """
        outputs = len(self.targets) if self.classes is None else len(self.classes)
        return TableBuilder(self.columns, self.task, outputs, self.classes, defaults)

    def model(self, predictor: Predictor) -> TableModel:
        """Return a model that predicts from tables with the columns of this one."""
        return TableModel(predictor, self.description)

    def matrix(self, table: Any, **options: Any) -> np.ndarray:
        """Return the features of another table as a matrix like `x`. Columns are matched by name.

        Parameters
        ----------
        table : DataFrame, path, paths or array
        **options
            How to read a file, as for `read_table`.

        Returns
        -------
        float64 ndarray of shape (rows, features)

        Raises
        ------
        TableError
            If columns are missing, or a cell is of another kind. Additional columns, categories that were never seen, and
            missing values where there were none, are reported by a `TableWarning` each.
        """
        return self._encode(self.description.load(table, **options))

    def like(self, table: Any, **options: Any) -> Table:
        """Return another table with the same columns and targets, such as a test set.

        Parameters
        ----------
        table : DataFrame, path, paths or array
        **options
            How to read a file, as for `read_table`.

        Raises
        ------
        TableError
            As for `matrix`, and if a target is missing or is a class that this table does not have.
        """
        cells = self.description.load(table, **options)
        if absent := [name for name in self.targets if name not in cells.names]:
            cells.resolve(absent[0])
        notes: list[str] = []
        if self.drops_missing_target:
            cells, notes = with_target(cells, self.targets)
        y = self.description.answers(cells)
        x = self._encode(cells)
        index = row_names(cells, [name for name in self.description.index if name in cells.names])
        return Table(x, y, self.description, None, None, index, cells.source, None, self.drops_missing_target, tuple(notes))

    def _encode(self, cells: Cells) -> np.ndarray:
        x, notes = self.description.matrix(cells)
        for note in notes:
            warnings.warn(note, TableWarning, stacklevel=3)
        return x


def read_table(
    path: Any,
    target: Names = None,
    *,
    features: Names = None,
    drop: Names = None,
    index: Names = None,
    groups: str | int | None = None,
    weight: str | int | None = None,
    task: str | None = None,
    categories: Names = None,
    dates: Names | Mapping[str, str] = None,
    drop_missing_target: bool = False,
    na_values: str | float | Sequence[str | float] | None = None,
    keep_default_na: bool = True,
    delimiter: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    header: bool | None = None,
    skip: int = 0,
    comment: str | None = None,
    encoding: str | None = None,
    sheet: str | int | None = None,
    verbose: bool = True,
) -> Table:
    r"""Read a table, find out what its columns mean, and say so in one line.

    Parameters
    ----------
    path : path, sequence of paths, DataFrame, ndarray or mapping of str to ndarray
        CSV or other text, Parquet, Excel (.xlsx), .npz or .npy, also packed with gzip, zip, bzip2 or xz. Files in a sequence
        are joined side by side.
    target : str, int or sequence of these, optional
        The columns to predict, by name or by position, which counts from 0, or from -1 at the end. By default the last column.
    features, drop : str, int or sequence of these, optional
        The columns to predict from, or those that are left out. By default all that have no other meaning.
    index : str, int or sequence of these, optional
        The columns with the names of the rows. They are no features.
    groups : str or int, optional
        The column with the groups that folds do not split. It is no feature.
    weight : str or int, optional
        The column with the weights of the rows. It is no feature.
    task : {"regression", "classification", "multilabel"}, optional
        Guessed by default: text, booleans and two whole numbers are classes.
    categories : str, int or sequence of these, optional
        Columns that are categories although they hold numbers, or more different texts than are taken for categories.
    dates : str, int, sequence of these, or mapping of str to str, optional
        Columns of dates, with the format of each as of `datetime.strptime`. ISO 8601 and 20240229 need no format.
    drop_missing_target : bool
        Whether to leave out rows without a target, which are refused by default.
    na_values : str, float or sequence of these, optional
        More cells that mean a missing value, such as "n.a." or -999.
    keep_default_na : bool
        Whether the words of `MISSING_WORDS` do too: the empty cell, NA, nan, null, None, ?, #N/A, #DIV/0! and so on.
    delimiter : str, optional
        The character between cells; a blank stands for any number of blanks and tabs. Guessed by default.
    decimal, thousands : str, optional
        The decimal sign, and the sign between thousands. Guessed by default, and refused where two readings are possible.
    header : bool, optional
        Whether the first row has the names of the columns. Guessed by default, and refused where both are possible.
    skip : int
        The number of lines before the table.
    comment : str, optional
        The beginning of lines that are left out.
    encoding : str, optional
        By default UTF-8, or what a byte order mark says.
    sheet : str or int, optional
        The sheet of an Excel file.
    verbose : bool
        Whether to print the line, and what was guessed.

    Returns
    -------
    Table

    Raises
    ------
    TableError
        If the table cannot be read or used as it is. The message names the file, the line as an editor counts it, the column,
        the value and a cure.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "wine.csv")
    ...     _ = path.write_text("alcohol;color;quality\n9,4;red;5\n;white;6\n10,5;red;7\n")
    ...     table = read_table(path, target="quality")
    3 samples, 2 features (1 number, 1 category with 2 levels), y = quality (regression), 1 missing value in 1 column
      decimal comma
      column 'quality' has 3 different whole numbers; give task = "classification" if they are classes
    >>> table.x
    array([[ 9.4,  0. ],
           [ nan,  1. ],
           [10.5,  0. ]])
    """
    words = [na_values] if isinstance(na_values, (str, int, float)) else na_values or ()
    missing = (MISSING_WORDS if keep_default_na else frozenset()) | set(map(str, words))
    options = {"delimiter": delimiter, "header": header, "skip": skip, "comment": comment, "encoding": encoding, "sheet": sheet}
    cells = load_cells(path, missing=missing, **options)
    form = guess_format(cells, decimal, thousands)
    cells = without_numbers(cells, missing, form)
    notes = list(cells.notes)

    roles = Roles(cells, target, features, drop, index, groups, weight)
    notes += roles.notes
    if drop_missing_target:
        cells, more = with_target(cells, roles.targets)
        notes += more
    if (decimal is None and form.decimal == ",") or (thousands is None and form.thousands):
        notes.append(str(form))
    by_format = {cells.resolve(key): form for key, form in dates.items()} if isinstance(dates, Mapping) else {}
    others = () if isinstance(dates, Mapping) else roles.resolve(dates)
    description, cells, more = describe(
        cells,
        roles.targets,
        roles.features,
        task=task,
        kinds={**cells.kinds, **dict.fromkeys(roles.resolve(categories), "category")},
        dates={**dict.fromkeys(others), **by_format},
        form=form,
        missing_words=missing,
        index=roles.index,
    )
    x, _ = description.matrix(cells, form)
    table = Table(
        x=x,
        y=description.answers(cells, form),
        description=description,
        groups=None if roles.groups is None else group_codes(cells, roles.groups),
        weight=None if roles.weight is None else row_weights(cells, roles.weight, form),
        index=row_names(cells, roles.index),
        source=cells.source,
        group_name=roles.groups,
        drops_missing_target=drop_missing_target,
        notes=(*notes, *more),
    )
    if verbose:
        print("\n  ".join([table.summary(), *table.notes]))
    return table
