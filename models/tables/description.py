"""The description of a table: which columns are the features, in which order and of what kind, and what is predicted.

Cells, target, ... --describe--> Description --matrix--> x of another table, matched by name
                                             --answers--> y
                                             --to_json--> a part of a model's file
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np

from models.tables.cells import MISSING_WORDS, Cells, TableError, count, is_missing, listed, suggest
from models.tables.columns import UNSEEN, Column, Level, guess_column, level_key
from models.tables.dates import looks_compact
from models.tables.files import load_cells
from models.tables.formats import FORMATS, NumberFormat, as_numbers, guess_format, joined, with_numbers, without_numbers
from models.tables.targets import TASKS, as_flags, guess_task, refuse_missing

CODE = re.compile(r"^0+[1-9]\d*$", re.MULTILINE)
"""A whole number with leading zeros."""


@dataclass(frozen=True)
class Description:
    """What the columns of a table mean. It has no data, and is saved with a model as JSON.

    Attributes
    ----------
    columns : tuple of Column
        The features, in the order of the columns of x.
    targets : tuple of str
    task : {"regression", "classification", "multilabel"}
    classes : tuple of str, int, float or bool, or None
        The labels of a classification, in the order of their codes in y.
    ignored : tuple of str
        Columns that were there, and are neither features nor targets.
    number_format : NumberFormat
        How the table wrote its numbers. It decides where another table leaves a choice.
    missing_words : tuple of str
        Cells that were no values.
    index : tuple of str
        The columns with the names of the rows.
    """

    columns: tuple[Column, ...]
    targets: tuple[str, ...]
    task: str
    classes: tuple[Level, ...] | None = None
    ignored: tuple[str, ...] = ()
    number_format: NumberFormat = NumberFormat()  # noqa: RUF009 (frozen)
    missing_words: tuple[str, ...] = tuple(sorted(MISSING_WORDS))
    index: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features."""
        return tuple(column.name for column in self.columns)

    def to_json(self) -> dict[str, Any]:
        """Return the description as values that JSON has."""
        return asdict(self) | {
            "columns": [column.to_json() for column in self.columns],
            "targets": list(self.targets),
            "classes": None if self.classes is None else list(self.classes),
            "ignored": list(self.ignored),
            "missing_words": list(self.missing_words),
            "index": list(self.index),
        }

    @classmethod
    def from_json(cls, description: Mapping[str, Any]) -> Description:
        """Return the description that `to_json` has written.

        Raises
        ------
        ValueError
            If it is no such description.
        """
        try:
            classes = description["classes"]
            lists = {name: tuple(description[name]) for name in ("targets", "ignored", "missing_words", "index")}
            texts = [description["task"], *chain.from_iterable(lists.values())]
            if not all(isinstance(text, str) for text in texts) or description["task"] not in TASKS:
                raise TypeError("a name or a word is no text")
            number_format = NumberFormat(**description["number_format"])
            if number_format not in FORMATS or not description["columns"]:
                raise TypeError("the format of numbers is unknown, or there are no columns")
            return cls(
                columns=tuple(map(Column.from_json, description["columns"])),
                task=description["task"],
                classes=None if classes is None else tuple(classes),
                number_format=number_format,
                **lists,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the description of the columns is damaged or of another version ({error!r})") from None

    # Other tables ----------------------------------------------------------------------------------------------------

    def load(self, table: Any, **options: Any) -> Cells:
        """Return the cells of another table, which is read as this one was where `options` do not say otherwise."""
        names = {*self.features, *self.targets}
        known = () if all(name.isdigit() for name in names) else tuple(names)  # rows may begin with the number 0
        cells = load_cells(table, missing=frozenset(self.missing_words), known=known, **options)
        return without_numbers(cells, self.missing_words, self.form(cells))

    def form(self, cells: Cells) -> NumberFormat:
        """Return the format of the numbers of another table: that of this one, unless cells or the delimiter contradict it."""
        numbers = [cells.column(x.name) for x in self.columns if x.kind == "number" and x.name in cells.names]
        # Between commas, a decimal comma is rare. So if there is none, the point in 1.234 is a decimal one.
        text = "".join(map(joined, numbers)) if cells.delimiter == "," == self.number_format.decimal else ""
        has_points = "." in text and "," not in text
        if not has_points and not any(as_numbers(column, self.number_format)[1].any() for column in numbers):
            return self.number_format
        try:
            return guess_format(cells)
        except TableError:
            return self.number_format

    def matrix(self, cells: Cells, form: NumberFormat | None = None) -> tuple[np.ndarray, list[str]]:
        """Return the features of a table, and what is unlike the described table.

        Parameters
        ----------
        cells : Cells
        form : NumberFormat, optional
            By default that of `form`.

        Returns
        -------
        x : float64 ndarray of shape (rows, features)
            nan where a value is missing, and `UNSEEN` for a category that is no level.
        notes : list of str
            Additional columns, categories that were never seen, and missing values where there were none.

        Raises
        ------
        TableError
            If columns are missing, or a cell is of another kind.
        """
        if absent := [name for name in self.features if name not in cells.names]:
            others = [name for name in cells.names if name not in self.features]
            hint = suggest(absent[0], others) if len(absent) == 1 and others else f"; the columns are {listed(cells.names)}"
            what = f"column {absent[0]!r} is" if len(absent) == 1 else f"{len(absent)} columns ({listed(absent)}) are"
            raise TableError(f"{cells.source}: {what} missing{hint}")
        expected = {*self.features, *self.targets, *self.ignored, *self.index}
        notes = []
        if additional := [name for name in cells.names if name not in expected]:
            notes.append(f"{cells.source}: additional columns are not used: {listed(additional)}")
        form = form or self.form(cells)
        if form != self.number_format:
            notes.append(f"{cells.source}: numbers have a {form}, and those of the training table a {self.number_format}")
        cells = with_numbers(cells, [x.name for x in self.columns if x.kind == "number"], form)
        x = np.empty((len(cells), len(self.columns)))
        for i, described in enumerate(self.columns):
            column = cells.column(described.name)
            x[:, i] = described.encode(cells, column, form)
            unseen = x[:, i] == UNSEEN if described.kind == "category" else np.zeros(len(cells), bool)
            if unseen.any():
                values = dict.fromkeys(repr(level_key(cell)) for cell in column[unseen])
                notes.append(
                    f"{cells.where(name=described.name)}: {count(unseen.sum(), 'cell')} with categories that were never seen "
                    f"({listed(values, 3)}); they count as none of the known"
                )
            missing = int(np.isnan(x[:, i]).sum())
            if missing and not described.missing:
                instead = "no category" if described.kind == "category" else "the median"
                notes.append(
                    f"{cells.where(name=described.name)}: {count(missing, 'missing value')} where there were none before; "
                    f"{instead} takes their place"
                )
        return x, notes

    def answers(self, cells: Cells, form: NumberFormat | None = None) -> np.ndarray:
        """Return the targets of a table.

        Parameters
        ----------
        cells : Cells
        form : NumberFormat, optional
            By default that of `form`.

        Returns
        -------
        ndarray
            float64 of shape (rows, targets), which are 0 or 1 for "multilabel". For a classification, the codes of the
            classes as int64 of shape (rows,).

        Raises
        ------
        TableError
            If a target is missing, is of another kind, or is a class that is not known.
        """
        for name in self.targets:
            refuse_missing(cells, name, "fill it, or leave such rows out with drop_missing_target = true")
        form = form or self.form(cells)
        if self.task == "classification":
            assert self.classes is not None
            [name] = self.targets
            labels = Column(name, "category", self.classes)
            codes = labels.encode(cells, cells.column(name), form)
            if (codes == UNSEEN).any():
                row = int((codes == UNSEEN).argmax())
                label = level_key(cells.column(name)[row])
                raise TableError(
                    f"{cells.where(row, name)}: the class {label!r:.80} is not known; the classes are {listed(self.classes)}"
                )
            return codes.astype(np.int64)
        columns = []
        for name in self.targets:
            column = as_flags(cells, name, form) if self.task == "multilabel" else cells.column(name)
            columns.append(Column(name, "number").encode(cells, column, form))
        return np.column_stack(columns)


# ---- describing a table ----------------------------------------------------------------------------------------------


def describe(
    cells: Cells,
    targets: Sequence[str],
    features: Sequence[str],
    *,
    task: str | None = None,
    kinds: Mapping[str, str],
    dates: Mapping[str, str | None],
    form: NumberFormat,
    missing_words: Iterable[str],
    index: Iterable[str] = (),
) -> tuple[Description, Cells, list[str]]:
    """Return the description of a table, the cells with columns of numbers converted, and what was guessed or left out.

    Parameters
    ----------
    cells : Cells
    targets, features : sequence of str
        Names of columns.
    task : str, optional
    kinds : mapping of str to str
        The kinds of columns that are known.
    dates : mapping of str to str or None
        The formats of columns of dates. None is ISO 8601, or 19580329.
    form : NumberFormat
    missing_words, index : iterable of str
    """
    notes = []
    numeric = [name for name in features if name not in dates and kinds.get(name) != "category"]
    original, cells = cells, with_numbers(cells, numeric, form)
    for name in targets:
        refuse_missing(cells, name, "fill it, or leave such rows out with drop_missing_target = true")
    if wrong := [name for name, date in dates.items() if not isinstance(date, (str, type(None)))]:
        raise TableError(f"dates is {dates[wrong[0]]!r} for column {wrong[0]!r}, expected a format such as '%d.%m.%Y'")
    if both := [name for name in dates if kinds.get(name) == "category"]:
        raise TableError(f"{cells.source}: column {both[0]!r} is in dates and a category, expected one of the two")
    chosen, classes, note = guess_task(cells, targets, task, kinds, form)
    notes += note
    columns = []
    empty = [name for name in features if is_missing(cells.column(name)).all()]
    for name in features:
        if name not in empty:
            kind = "date" if name in dates else kinds.get(name)
            columns.append(guess_column(cells, name, form, kind, dates.get(name)))
    if empty:
        notes.append(f"columns without values left out: {listed(empty)}")
    if not columns:
        raise TableError(
            f"{cells.source}: no column is left as a feature beside the target {listed(targets)}, expected at least one"
        )
    for column in columns:
        if column.kind == "date" and column.name not in dates and column.format is not None:
            notes.append(f"column {column.name!r} is read as dates, such as {level_key(_first(cells.column(column.name)))}")
    numbers = [column.name for column in columns if column.kind == "number"]
    if compact := [name for name in numbers if kinds.get(name) is None and looks_compact("date", cells.column(name))]:
        example = level_key(_first(cells.column(compact[0])))
        notes.append(f"column {compact[0]!r} has numbers such as {example}; list it in dates if they are dates")
    if ordinal := [name for name in numbers if _numbers_rows(cells.column(name), form)]:
        notes.append(f"column {ordinal[0]!r} numbers the rows; drop it, or make it the index, if it is no feature")
    if codes := [name for name in numbers if CODE.search(joined(original.column(name)))]:
        notes.append(f"column {codes[0]!r} has numbers with leading zeros; put it into categories if they are codes")
    described = Description(
        columns=tuple(columns),
        targets=tuple(targets),
        task=chosen,
        classes=classes,
        ignored=tuple(name for name in cells.names if name not in targets and name not in {x.name for x in columns}),
        number_format=form,
        missing_words=tuple(sorted(missing_words)),
        index=tuple(index),
    )
    return described, cells, notes


def _first(column: np.ndarray) -> Any:
    return column[~is_missing(column)][0]


def _numbers_rows(column: np.ndarray, form: NumberFormat) -> bool:
    numbers, _ = as_numbers(column, form)
    return len(numbers) >= 10 and numbers[0] in (0, 1) and bool((np.diff(numbers) == 1).all())
