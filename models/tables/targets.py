"""What is predicted: the task that follows from the targets, and the classes.

targets, levels of each --guess_task--> "regression", "classification" with its classes, "multilabel"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.tables.cells import Cells, TableError, count, is_missing, listed
from models.tables.columns import Level, guess_column, level_key, levels_of
from models.tables.formats import NumberFormat

TASKS = ("regression", "classification", "multilabel")


def guess_task(
    cells: Cells, targets: Sequence[str], task: str | None, kinds: Mapping[str, str], form: NumberFormat
) -> tuple[str, tuple[Level, ...] | None, list[str]]:
    """Return the task, the classes, and a note where the task is uncertain."""
    if task not in (None, *TASKS):
        raise TableError(f"task is {task!r}, expected {', '.join(TASKS)}")
    levels = {name: levels_of(cells.column(name), form) for name in targets}
    note: list[str] = []
    if task is None:
        task, note = _likely_task(cells, levels, kinds, form)
    if task == "classification":
        if len(targets) > 1:
            raise TableError(f"{cells.source}: {len(targets)} targets ({listed(targets)}), expected one for classification")
        [(name, classes)] = levels.items()
        if len(classes) < 2:
            raise TableError(
                f"{cells.where(name=name)}: the target has one class, {classes[0]!r:.80}, in all {len(cells):,} rows; "
                "expected two"
            )
        if len(classes) > max(50, len(cells) // 4):
            raise TableError(
                f"{cells.where(name=name)}: the target has {len(classes):,} classes in {len(cells):,} rows; expected few, "
                'or task = "regression"'
            )
        return task, tuple(classes), note
    if task == "multilabel" and len(targets) == 1:
        raise TableError(
            f'{cells.where(name=targets[0])}: one target for "multilabel"; give several, or task = "classification"'
        )
    for name, values in levels.items():
        if task == "multilabel":
            as_flags(cells, name, form)
        elif isinstance(values[0], (str, bool)):
            guess_column(cells, name, form, "number")  # names the first cell that is no number
        if len(values) < 2:
            raise TableError(
                f"{cells.where(name=name)}: the target is {values[0]!r:.80} in all {len(cells):,} rows; nothing can be learnt"
            )
    return task, None, note


def _likely_task(
    cells: Cells, levels: Mapping[str, list[Level]], kinds: Mapping[str, str], form: NumberFormat
) -> tuple[str, list[str]]:
    kinds = {name: kinds.get(name) or _kind_of_target(cells, name, values, form) for name, values in levels.items()}
    if len(levels) > 1:
        if all(set(values) <= {0, 1} for values in levels.values()):
            return "multilabel", []
        if other := [name for name, kind in kinds.items() if kind != "number"]:
            raise TableError(
                f"{cells.where(name=other[0])}: one of several targets is text, expected numbers, or 0 and 1 in each"
            )
        return "regression", []
    [(name, values)] = levels.items()
    whole = all(isinstance(value, int) for value in values)
    if kinds[name] == "category" or (whole and len(values) == 2):
        return "classification", []
    if whole and 2 < len(values) <= 10:
        return "regression", [
            f'column {name!r} has {len(values)} different whole numbers; give task = "classification" if they are classes'
        ]
    return "regression", []


def _kind_of_target(cells: Cells, name: str, values: Sequence[Level], form: NumberFormat) -> str:
    """Return "category" for labels and "number" for numbers. Dates are no targets."""
    if isinstance(values[0], bool):
        return "category"
    kind = guess_column(cells, name, form, cure='give task = "classification"').kind
    if kind == "date":
        raise TableError(f"{cells.where(name=name)}: the target is a date, expected numbers or classes; convert it to a number")
    return kind


def as_flags(cells: Cells, name: str, form: NumberFormat) -> np.ndarray:
    """Return the labels of a multilabel target as 0 and 1."""
    column = cells.column(name)
    flags = np.empty(len(column), object)
    for row, cell in enumerate(column):
        key = level_key(cell).lower()
        if key not in ("0", "1", "true", "false"):
            number = form.parse(cell) if isinstance(cell, str) else None
            if number not in (0.0, 1.0):
                raise TableError(
                    f"{cells.where(row, name)}: {cell!r} is no label of a multilabel task, expected 0 or 1, true or false"
                )
            key = str(int(number))
        flags[row] = int(key in ("1", "true"))
    return flags


def refuse_missing(cells: Cells, name: str, cure: str) -> None:
    """Raise a TableError that names the first row with a missing value of a column."""
    rows = np.flatnonzero(is_missing(cells.column(name)))
    if len(rows):
        more = f" (and in {count(len(rows) - 1, f'more {cells.unit}')})" if len(rows) > 1 else ""
        raise TableError(f"{cells.where(rows[0], name)}: the value is missing{more}; {cure}")


def with_target(cells: Cells, targets: Sequence[str]) -> tuple[Cells, list[str]]:
    """Return the rows that have all targets, and a note if there are others."""
    present = ~np.any([is_missing(cells.column(name)) for name in targets], axis=0)
    if not present.any():
        raise TableError(f"{cells.source}: no row has a target ({listed(targets)}), expected at least one")
    left_out = int((~present).sum())
    return cells.take(present), [f"{count(left_out, 'row')} without a target left out"] if left_out else []
