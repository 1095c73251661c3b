"""From the raw columns of a table to the inputs of a network, by what was learnt from the training rows.

numbers     --> (x - mean) / scale, with the median where a value is missing
dates       --> the same for days, and the sine and cosine of the time of year
categories  --> one-hot: an input for each level
missing     --> an input for each column that has gaps: 1 where the value is missing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import pi
from typing import Any

import numpy as np

from models.tables.columns import Column
from tinygrad_lab import Buffer, Preprocessor, Standardize, Tensor, concatenate, register_layer

YEAR = 365.2425
"""Days in a year of the Gregorian calendar, on average."""


class ColumnEncoder(Preprocessor):
    """Turn the columns of a table into inputs of a network.

    Its input has nan where a value is missing, codes for categories and days for dates, as `Table.x` has. The number of outputs
    follows from the description of the columns, not from the training rows. What those did not show gives zeros: a number
    that was the same in all of them, a category that they did not have, and the indicator of missing values if they had none.
    Otherwise an untrained weight would act.

    Parameters
    ----------
    columns : sequence of Column

    Attributes
    ----------
    median, mean, scale : Buffer of shape (numbers and dates,)
        Of the training rows. A missing value counts as the median.
    seen : Buffer of shape (out_features,)
        1 for what the training rows show, else 0.
    category_blocks : list of (start, stop)
        The outputs of each category.
    out_features : int
        The number of outputs: numbers and dates, 2 for each date, levels, indicators of missing values, in this order.

    Notes
    -----
    A linear layer without bias on one-hot inputs is an embedding: row by row, its weight has the vector of each level. So the
    first layer of a network embeds the categories already.

    Examples
    --------
    >>> encoder = ColumnEncoder([Column("size", "number", missing=True), Column("color", "category", ("blue", "red"))])
    >>> encoder.learn(np.array([[1.0, 0.0], [3.0, 1.0], [np.nan, 1.0], [2.0, 0.0]]))
    >>> encoder([[2.0, 0.0], [np.nan, -1.0]])
    Tensor([[0., 1., 0., 0.],
            [0., 0., 0., 1.]])
    """

    takes_missing = True

    def __init__(self, columns: Sequence[Column]) -> None:
        if not columns:
            raise ValueError("ColumnEncoder: columns is empty, expected at least one Column")
        self.columns = tuple(columns)
        self._scaled = [i for i, column in enumerate(self.columns) if column.kind != "category"]
        self._dates = [i for i, column in enumerate(self.columns) if column.kind == "date"]
        self._with_gaps = [i for i, column in enumerate(self.columns) if column.missing]
        levels = [(i, code) for i, column in enumerate(self.columns) for code in range(len(column.levels))]
        self._level_columns = [i for i, _ in levels]
        self._level_codes = np.array([code for _, code in levels], float)
        width = len(self._scaled)
        self.median = Buffer(np.zeros(width))
        self.mean = Buffer(np.zeros(width))
        self.scale = Buffer(np.ones(width))
        start = width + 2 * len(self._dates)
        self.category_blocks: list[tuple[int, int]] = []
        for column in self.columns:
            if column.levels:
                self.category_blocks.append((start, start + len(column.levels)))
                start += len(column.levels)
        self.out_features = start + len(self._with_gaps)
        self.seen = Buffer(np.zeros(self.out_features))

    def learn(self, data: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Set the buffers from the rows that train, of which only those with a weight above 0 count.

        Raises
        ------
        ValueError
            If the data have another number of columns.
        """
        self._check(data.shape)
        rows = np.asarray(data, np.float64)
        if weight is not None:
            rows, weight = rows[weight > 0], weight[weight > 0]
        varies = np.zeros(len(self.columns), bool)
        if self._scaled:
            values = rows[:, self._scaled]
            median = np.array([_median(column, weight) for column in values.T])
            self.median.tensor.assign(median)
            values = np.where(np.isnan(values), median, values)
            varies[self._scaled] = values.min(axis=0) < values.max(axis=0)
            scaler = Standardize(len(self._scaled))
            scaler.learn(values, weight)
            self.mean.tensor.assign(scaler.mean.tensor.numpy())
            self.scale.tensor.assign(scaler.scale.tensor.numpy())
        levels = (rows[:, self._level_columns] == self._level_codes).any(axis=0)
        missing = np.isnan(rows[:, self._with_gaps]).any(axis=0)
        numbers = varies[[*self._scaled, *self._dates, *self._dates]]
        self.seen.tensor.assign(np.concatenate([numbers, levels, missing]).astype(float))

    def forward(self, x: Tensor) -> Tensor:
        """Return the inputs of a network, of shape (n, out_features), for raw columns of shape (n, columns)."""
        self._check(x.shape)
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
        parts = []
        if self._scaled:
            values = _take(x, self._scaled)
            median, mean, scale = (buffer.value.astype(dtype) for buffer in (self.median, self.mean, self.scale))
            parts.append((np.where(np.isnan(values), median, values) - mean) / scale)
        if self._dates:
            days = _take(x, self._dates)
            missing = np.isnan(days)
            angle = np.where(missing, 0.0, days) * (2 * pi / YEAR)
            parts += [np.where(missing, 0.0, np.sin(angle)), np.where(missing, 0.0, np.cos(angle))]
        for i, column in enumerate(self.columns):
            if column.levels:
                parts.append(np.equal(x[:, i : i + 1], np.arange(len(column.levels), dtype=dtype)).astype(dtype))
        if self._with_gaps:
            parts.append(np.isnan(_take(x, self._with_gaps)).astype(dtype))
        return concatenate(parts, axis=1) * self.seen.value.astype(dtype)

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2 or shape[1] != len(self.columns):
            names = ", ".join(column.name for column in self.columns)
            raise ValueError(f"ColumnEncoder: input has shape {shape}, expected (rows, {len(self.columns)}): {names:.200}")

    def __repr__(self) -> str:
        return f"ColumnEncoder({len(self.columns)} columns, {self.out_features} outputs)"


def _take(x: Tensor, columns: Sequence[int]) -> Tensor:
    """Return some columns of `x`, which are in order, by as few slices as possible."""
    starts = [i for i in columns if i - 1 not in columns]
    stops = [i + 1 for i in columns if i + 1 not in columns]
    parts = [x[:, start:stop] for start, stop in zip(starts, stops, strict=True)]
    return parts[0] if len(parts) == 1 else concatenate(parts, axis=1)


def _make_encoder(arrays: Mapping[str, Any], *, columns: Any) -> ColumnEncoder:  # noqa: ARG001 (the columns say all)
    return ColumnEncoder([Column.from_json(column) for column in columns])


register_layer(ColumnEncoder, _make_encoder, lambda encoder: {"columns": [column.to_json() for column in encoder.columns]})


def _median(column: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the median of the values that are present: the middle one, or the mean of the two in the middle."""
    present = ~np.isnan(column)
    values = column[present]
    if not len(values):
        return 0.0
    if weight is None:
        return float(np.median(values))
    order = np.argsort(values)
    share = np.cumsum(weight[present][order])
    half = share[-1] / 2
    first, second = np.searchsorted(share, half, side="left"), np.searchsorted(share, half, side="right")
    return float((values[order[first]] + values[order[min(second, len(values) - 1)]]) / 2)
