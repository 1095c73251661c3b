"""A model of a table in use: the description of its columns beside a predictor.

DataFrame, path --Description--> x --Predictor--> labels, numbers, probabilities, intervals, in the rows of the DataFrame
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from models.tables.cells import TableError, TableWarning, is_missing, listed
from models.tables.columns import UNSEEN, level_key
from models.tables.description import Description
from models.tables.frames import is_frame
from tinygrad_lab import Predictor

DETAIL = "table"
"""The name of the description among the details of a predictor's file."""


class TableModel:
    """Predicts from tables: matches columns by name, and fills missing values by what was learnt from the training rows.

    Parameters
    ----------
    predictor : Predictor
        Or any object with `predict` for the raw columns.
    description : Description

    Raises
    ------
    TableError
        If the predictor has another task than the table, or other labels of classes.

    Notes
    -----
    Each method takes a DataFrame, a path, several paths side by side, or a matrix as `Table.x`. Columns may be in another
    order. A missing column is an error. Additional columns, categories that were never seen, and missing values in columns that
    had none are reported by a `TableWarning` each.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas
    >>> from models import read_table
    >>> frame = pandas.DataFrame({"size": [1.0, 2.0, 4.0], "color": ["red", "blue", "red"], "price": [1.5, 2.5, 4.0]})
    >>> table = read_table(frame, target="price", verbose=False)
    >>> trainer = table.builder(epochs=2)({}, np.random.default_rng(0))
    >>> history = trainer.fit(table.x, table.y)
    >>> from tinygrad_lab import Predictor
    >>> model = table.model(Predictor.from_trainer(trainer))
    >>> model.predict(frame[["color", "size"]]).shape
    (3,)
    """

    def __init__(self, predictor: Predictor, description: Description) -> None:
        self.predictor = predictor
        self.description = description
        task, classes = getattr(predictor, "task", description.task), getattr(predictor, "classes_", None)
        if task != description.task:
            raise TableError(f"the predictor is for {task}, and the table for {description.task}; give it this task")
        if (
            description.classes is not None
            and classes is not None
            and list(map(repr, classes.tolist())) != list(map(repr, description.classes))
        ):
            raise TableError(
                f"the predictor has the classes {listed(classes)}, and the table {listed(description.classes)}; give it "
                "classes = table.classes"
            )

    def __repr__(self) -> str:
        described = self.description
        return f"TableModel({', '.join(described.targets)} from {len(described.columns)} columns, {described.task})"

    def read(self, table: Any, **options: Any) -> tuple[np.ndarray, list[str]]:
        """Return the raw columns of a table as a matrix, and what is to be reported.

        Parameters
        ----------
        table : DataFrame, path, paths or array
        **options
            How to read a file, as for `read_table`.

        Returns
        -------
        x : float64 ndarray of shape (rows, features)
        notes : list of str
        """
        described = self.description
        if isinstance(table, np.ndarray) and not table.dtype.names:
            if table.ndim != 2 or table.shape[1] != len(described.columns) or table.dtype.kind not in "fiub":
                raise TableError(
                    f"x has shape {table.shape} of {table.dtype}, expected (rows, {len(described.columns)}) numbers "
                    f"({listed(described.features)}), or a DataFrame"
                )
            self._check_codes(table)
            return table.astype(np.float64), []
        return described.matrix(described.load(table, **options))

    def read_file(
        self, path: Any, index: Sequence[str] = (), **options: Any
    ) -> tuple[np.ndarray, dict[str, list[str]], list[str]]:
        """Return the raw columns of a file as a matrix, the names of its rows, and what is to be reported.

        Parameters
        ----------
        path : path or paths
        index : sequence of str
            The columns with the names of the rows. By default the index of the training table, if it is there.
        **options
            How to read a file, as for `read_table`.

        Returns
        -------
        x : float64 ndarray of shape (rows, features)
        names : dict of str to list of str
            The cells of each column of the index. A missing one is empty.
        notes : list of str

        Raises
        ------
        TableError
            As for `Table.matrix`, and if a given column of the index is missing, or is a target.
        """
        cells = self.description.load(path, **options)
        absent = [name for name in self.description.index if name not in cells.names and not index]
        chosen = tuple(map(cells.resolve, index)) or tuple(name for name in self.description.index if name not in absent)
        if wrong := [name for name in chosen if name in self.description.targets]:
            raise TableError(f"{cells.source}: column {wrong[0]!r} is the target and the index, expected one of the two")
        x, notes = replace(self.description, index=chosen).matrix(cells)
        if absent:
            notes.append(f"{cells.source}: no column {absent[0]!r}, the index of the training table; rows stay without a name")
        names = {}
        for name in chosen:
            column = cells.column(name)
            gaps = is_missing(column)
            names[name] = ["" if gap else level_key(cell) for cell, gap in zip(column, gaps, strict=True)]
        return x, names, notes

    def _check_codes(self, x: np.ndarray) -> None:
        for column, values in zip(self.description.columns, x.T, strict=True):
            codes = np.arange(UNSEEN, len(column.levels))
            wrong = ~(np.isnan(values) | np.isin(values, codes)) & (column.kind == "category")
            if wrong.any():
                row = int(wrong.argmax())
                raise TableError(
                    f"x, row {row}, column {column.name!r}: {values[row]:g} is no code of its {len(column.levels)} categories, "
                    f"expected 0 to {len(column.levels) - 1}, -1 or nan; give a DataFrame if it is a label"
                )

    def predict(self, table: Any, **options: Any) -> Any:
        """Return the prediction of each row: numbers, or the labels of classes.

        Parameters
        ----------
        table : DataFrame, path, paths or array
        **options
            How to read a file, as for `read_table`.

        Returns
        -------
        Series or ndarray of shape (rows,)
            For several targets, a DataFrame or an ndarray of shape (rows, targets). For a DataFrame, pandas objects with
            the same index.
        """
        return self._named(table, self._flat(self.predictor.predict(self._warn(table, options))), self.description.targets)

    def predict_proba(self, table: Any, **options: Any) -> Any:
        """Return the probability of each class, or of each label of a multilabel task.

        Returns
        -------
        DataFrame or ndarray of shape (rows, classes)
        """
        classes = self.description.classes
        names = self.description.targets if classes is None else classes
        return self._named(table, self.predictor.predict_proba(self._warn(table, options)), names)

    def predict_interval(self, table: Any, coverage: float = 0.9, **options: Any) -> Any:
        """Return what `Predictor.predict_interval` returns for each row.

        Parameters
        ----------
        table : DataFrame, path, paths or array
        coverage : float
            The probability that an interval holds the true value.

        Returns
        -------
        DataFrame or tuple of ndarray
            For a DataFrame and one target, a DataFrame with the columns "lower" and "upper". Else the lower and the upper
            bounds, of the shape that `predict` returns.
        """
        found = self.predictor.predict_interval(self._warn(table, options), coverage=coverage)
        lower, upper = map(self._flat, found)
        if is_frame(table) and lower.ndim == 1:
            return self._named(table, np.column_stack([lower, upper]), ("lower", "upper"))
        return lower, upper

    def predict_set(self, table: Any, coverage: float = 0.9, **options: Any) -> Any:
        """Return which classes the set of each row has, which holds the true class with this probability.

        Parameters
        ----------
        table : DataFrame, path, paths or array
        coverage : float

        Returns
        -------
        DataFrame or ndarray of bool, shape (rows, classes)
        """
        sets = self.predictor.predict_set(self._warn(table, options), coverage=coverage)
        return self._named(table, sets, self.description.classes)

    def save(self, path: str | os.PathLike[str], details: Mapping[str, Any] | None = None) -> None:
        """Write the predictor and the description of the columns into one file, which `models.load_model` reads.

        Parameters
        ----------
        path : path
        details : mapping, optional
            What else to store: values that JSON has.
        """
        predictor = copy(self.predictor)
        predictor.details = {**predictor.details, **(details or {}), DETAIL: self.description.to_json()}
        predictor.save(path)

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the networks as an ONNX file; see `Predictor.to_onnx`.

        Its input ``x`` has the raw columns as `read` returns them: nan where a value is missing, codes for categories, days for
        dates. The description of the columns is in the metadata, as JSON under "table".

        Parameters
        ----------
        path : path
        """
        notes = {DETAIL: json.dumps(self.description.to_json())}
        self.predictor.to_onnx(path, in_features=len(self.description.columns), notes=notes)

    def _warn(self, table: Any, options: Mapping[str, Any]) -> np.ndarray:
        x, notes = self.read(table, **options)
        for note in notes:
            warnings.warn(note, TableWarning, stacklevel=3)
        return x

    def _flat(self, prediction: Any) -> np.ndarray:
        """Return predictions of one target with one axis."""
        values = np.asarray(prediction)
        return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values

    def _named(self, table: Any, values: np.ndarray, names: Any) -> Any:
        if not is_frame(table):
            return values
        import pandas

        if values.ndim == 1:
            return pandas.Series(values, index=table.index, name=names[0])
        return pandas.DataFrame(values, index=table.index, columns=list(names))
