"""What each column of a table is for: target, feature, index, groups or weight.

names and positions --Roles--> names of columns --group_codes, row_weights--> arrays
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from models.tables.cells import Cells, TableError
from models.tables.columns import Column, level_key
from models.tables.formats import NumberFormat
from models.tables.targets import refuse_missing

Names = str | int | Sequence[str | int] | None


class Roles:
    """What each column is for."""

    def __init__(
        self, cells: Cells, target: Names, features: Names, drop: Names, index: Names, groups: Names, weight: Names
    ) -> None:
        self._cells = cells
        self.notes: list[str] = []
        if features is not None and drop is not None:
            raise TableError("features and drop are given, expected one of the two")
        if target is None:
            target = "y" if "y" in cells.names else -1
            self.notes.append(f"the target is {cells.resolve(target)!r}, as none was given")
        self.targets = self.resolve(target)
        if not self.targets:
            raise TableError(f"target is {target!r}, expected the name or the position of a column, or several")
        self.index = self.resolve(index)
        self.groups, self.weight = (self._one(key) for key in (groups, weight))
        if not self.index and _are_row_names(cells, cells.names[0]) and cells.names[0] not in self.targets:
            self.index = [cells.names[0]]
            self.notes.append("the first column has no name and is taken as the index")
        roles = dict.fromkeys(self.resolve(drop), "in drop") | dict.fromkeys(self.index, "the index")
        roles |= {name: role for name, role in ((self.groups, "groups"), (self.weight, "weight")) if name is not None}
        for name in self.targets:
            self._refuse_both(name, "the target", roles.get(name))
        self.features = [name for name in cells.names if name not in {*self.targets, *roles}]
        if features is not None:
            self.features = self.resolve(features)
            for name in self.features:
                self._refuse_both(name, "in features", (roles | dict.fromkeys(self.targets, "the target")).get(name))

    def resolve(self, keys: Any) -> list[str]:
        """Return the names of columns, each once."""
        if keys is None:
            return []
        given = list(keys) if isinstance(keys, Iterable) and not isinstance(keys, str) else [keys]
        names = [self._cells.resolve(key) for key in given]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise TableError(f"{self._cells.source}: column {twice[0]!r} is given twice, expected once")
        return names

    def _refuse_both(self, name: str, role: str, other: str | None) -> None:
        if other is not None:
            raise TableError(f"{self._cells.source}: column {name!r} is {role} and {other}, expected one of the two")

    def _one(self, key: Any) -> str | None:
        return None if key is None else self._cells.resolve(key)


def _are_row_names(cells: Cells, name: str) -> bool:
    """Whether the first column is what pandas and R write for the names of the rows."""
    if name == "row names":
        return True
    if name not in ("column 1", "Unnamed: 0"):
        return False
    values = [level_key(cell) for cell in cells.column(name)]
    return values in ([str(i) for i in range(len(values))], [str(i + 1) for i in range(len(values))])


def group_codes(cells: Cells, name: str) -> np.ndarray:
    """Return a number for the group of each row."""
    refuse_missing(cells, name, "fill it, or leave groups out")
    codes: dict[str, int] = {}
    return np.array([codes.setdefault(level_key(cell), len(codes)) for cell in cells.column(name)])


def row_weights(cells: Cells, name: str, form: NumberFormat) -> np.ndarray:
    """Return the weights of the rows, which are at least 0, and not all 0."""
    refuse_missing(cells, name, "fill it, with 0 for a row that does not count")
    weights = Column(name, "number").encode(cells, cells.column(name), form)
    if (weights < 0).any():
        row = int((weights < 0).argmax())
        raise TableError(f"{cells.where(row, name)}: the weight {weights[row]:g} is below 0, expected at least 0")
    if not weights.any():
        raise TableError(f"{cells.where(name=name)}: all weights are 0, expected one above 0")
    return weights


def row_names(cells: Cells, index: Sequence[str]) -> np.ndarray:
    """Return the name of each row: its cells in the columns of the index, or else its place."""
    columns = [cells.column(name) for name in index]
    columns = [x.astype(int) if x.dtype.kind == "f" and (x % 1 == 0).all() else x for x in columns]
    if len(columns) < 2:
        return columns[0] if columns else cells.lines
    return np.array([", ".join(map(str, row)) for row in zip(*columns, strict=True)])
