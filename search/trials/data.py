"""The samples of a search: x and y as checked arrays in which each row is a sample, and what y means.

x, y, or a table that has both --read_samples--> Samples: numbers, or labels encoded as 0, 1, ..., and what they stood for
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_lab.prediction.tasks import as_classes
from tinygrad_lab.training.data import check_labels, check_rows, check_same_length, check_weights

Array = NDArray[Any]
DataSet = tuple[ArrayLike, ...] | Any  # x, y and possibly weights, or a table

TASKS = ("regression", "classification", "multilabel")
TABLE_ATTRIBUTES = ("x", "y", "groups", "weight", "task", "classes")


@dataclass(frozen=True, eq=False)
class Samples:
    """What a search is run on.

    Attributes
    ----------
    x : ndarray, shape (samples, features)
    y : ndarray
        Numbers of shape (samples, targets); labels from 0 to k - 1 of shape (samples,); or zeros and ones of shape
        (samples, labels) for the task "multilabel".
    task : {"regression", "classification", "multilabel"} or None
        None for integers of which nobody has said whether they are numbers or labels. The loss of the Trainer decides.
    classes : ndarray or None
        What the labels stood for: label i is ``classes[i]``. None if nothing was encoded.
    groups : array_like or None
        The group of each sample.
    weight : ndarray of float64 or None
        The weight of each sample.
    table : object or None
        The table that the samples come from.
    """

    x: Array
    y: Array
    task: str | None = None
    classes: Array | None = None
    groups: ArrayLike | None = None
    weight: Array | None = None
    table: Any = None

    @property
    def categories(self) -> tuple[int, ...]:
        """The columns of x that hold the codes of categories, as the table says."""
        columns = getattr(self.table, "columns", None) or ()
        kinds = [getattr(column, "kind", None) for column in columns]
        return tuple(i for i, kind in enumerate(kinds) if kind == "category") if len(kinds) == self.x.shape[1] else ()


def is_table(given: Any) -> bool:
    """Whether an object has the attributes of a table: x, y and what is known about them.

    Examples
    --------
    >>> is_table(np.zeros(3))
    False
    """
    return all(hasattr(given, name) for name in TABLE_ATTRIBUTES)


def read_samples(
    x: Any,
    y: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    task: str | None = None,
    classes: Array | None = None,
    label: str = "",
    gaps: bool = False,
) -> Samples:
    """Return checked samples, with labels encoded as 0 to k - 1.

    Parameters
    ----------
    x : array_like or table
        As in `as_samples`; or an object with the attributes ``x``, ``y``, ``groups``, ``weight``, ``task`` and ``classes``.
        The x of a table may have nan at its gaps.
    y : array_like, optional
        Not with a table. Strings and booleans are labels. Numbers are labels if `task` is "classification".
    groups, weight, task : optional
        They replace those of a table.
    classes : ndarray, optional
        The labels that are known. Labels are encoded by their position in it, and others are refused.
    label : str, default=""
        Written before x and y in error messages, such as ``"test "``.
    gaps : bool, default=False
        Whether x may have nan without being that of a table.

    Raises
    ------
    TypeError
        If y is missing, or the values are of no usable type.
    ValueError
        If shapes, values or the task are not as expected; if there is only one class; or if no target varies.

    Examples
    --------
    >>> samples = read_samples([1.0, 2.0, 3.0], ["yes", "no", "yes"])
    >>> samples.task, samples.y, samples.classes
    ('classification', array([1, 0, 1]), array(['no', 'yes'], dtype='<U3'))
    >>> read_samples([1.0, 2.0, 3.0], [4, 4, 4], task="classification")
    Traceback (most recent call last):
    ValueError: y has one class, 4, expected at least two; is it the right column?
    """
    table = x if is_table(x) else None
    if table is not None:
        if y is not None:
            raise ValueError("y is given beside a table, expected the table alone: its target is chosen when it is read")
        x, y = table.x, _decoded(np.asarray(table.y), table.classes)
        groups = table.groups if groups is None else groups
        weight = table.weight if weight is None else weight
        task = table.task if task is None else task
        classes = table.classes if classes is None else classes
    if y is None:
        raise TypeError(f"{label}y is missing, expected run(x, y), or run(table) with a table that names its target")
    samples = check_rows(f"{label}x", x, missing=gaps or table is not None)
    task, targets, classes = _read_targets(f"{label}y", y, task, classes)
    check_same_length(**{f"{label}x": samples, f"{label}y": targets})
    if not label and len(targets) > 1 and task in ("regression", "multilabel") and (targets == targets[0]).all():
        raise ValueError(
            f"y is constant, {targets[0].tolist()} in all samples, expected values that differ; is it the right column?"
        )
    weights = None if weight is None else check_weights(f"{label}sample_weight", weight, len(samples), np.dtype(np.float64))
    return Samples(samples, targets, task, classes, groups, weights, table)


def as_samples(x: ArrayLike, y: ArrayLike, label: str = "") -> tuple[Array, Array]:
    """Return x and y as arrays that a Trainer can take.

    Parameters
    ----------
    x, y : array_like
        Real, finite numbers of shape (samples, features); one dimension means one feature. If y is one-dimensional and
        holds integers, they may be class labels and are not converted.
    label : str, default=""
        Written before x and y in error messages, such as ``"test "``.

    Returns
    -------
    x, y : ndarray
        float32 stays float32. Everything else becomes float64, except labels.

    Raises
    ------
    TypeError
        If the values are not real numbers: strings, objects, complex.
    ValueError
        If the shapes are ragged, empty or different in length, or a value is NaN or infinite.

    Examples
    --------
    >>> x, y = as_samples([1, 2, 3], [[0.5], [1.0], [1.5]])
    >>> x.shape, x.dtype, y.shape
    ((3, 1), dtype('float64'), (3, 1))
    >>> as_samples([1, 2], [1, 2, 3])
    Traceback (most recent call last):
    ValueError: x has 2 samples and y has 3 samples, expected the same number
    """
    samples = check_rows(f"{label}x", x)
    targets = _numbers_or_labels(f"{label}y", y)
    check_same_length(**{f"{label}x": samples, f"{label}y": targets})
    return samples, targets


def _numbers_or_labels(name: str, y: ArrayLike) -> Array:
    labels = check_labels(name, y)
    return check_rows(name, y) if labels is None else labels


# Targets -----------------------------------------------------------------------------------------------------------------


def _read_targets(name: str, y: ArrayLike, task: str | None, classes: Any) -> tuple[str | None, Array, Array | None]:
    """Return the task, the targets as a Trainer takes them, and the classes of labels."""
    if task is not None and task not in TASKS:
        raise ValueError(f"task={task!r}, expected {', '.join(map(repr, TASKS))}, or None")
    array = np.asarray(y)
    if array.dtype.kind in "US" and not isinstance(y, np.ndarray):
        array = np.asarray(y, dtype=object)  # NumPy has made strings of all values, also of numbers and nan
    if task is None and _has_words(array):
        task = "classification"
    if task == "regression":
        if _has_words(array):
            raise ValueError(
                f"{name} has labels, such as {array.ravel()[:1].tolist()[0]!r}, expected numbers for the task 'regression'"
            )
        return task, check_rows(name, y), None
    if task is None:
        targets = _numbers_or_labels(name, y)
        return ("regression" if targets.ndim > 1 else None), targets, None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        return "multilabel", _indicators(name, array), None if classes is None else np.asarray(classes)
    if task == "multilabel" or array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, expected (samples,) labels or (samples, labels) of 0 and 1")
    labels, found = _encode(name, array, classes)
    return task, labels, found


def _decoded(y: Array, classes: Any) -> Array:
    """Return the labels of a table. One that knows its classes may have encoded them by their positions."""
    is_encoded = classes is not None and y.ndim == 1 and y.dtype.kind in "iu" and y.min() >= 0 and y.max() < len(classes)
    return as_classes(classes)[y] if is_encoded else y


def _has_words(array: Array) -> bool:
    """Whether the values are strings or booleans, which cannot be numbers to predict."""
    if array.dtype.kind == "O":
        return bool(array.size) and any(isinstance(value, str | bool | np.bool_) for value in array.flat)
    return array.dtype.kind in "USTb"


def _indicators(name: str, array: Array) -> Array:
    """Return the labels of each sample as a matrix of zeros and ones."""
    values = check_rows(name, array)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        position = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{name} holds {values[position]} at {position}, expected 0 or 1 for each label of each sample")
    return values


def _encode(name: str, labels: Array, classes: Any) -> tuple[Array, Array]:
    """Return labels as positions in the sorted classes, or in the given ones, and these classes."""
    missing = [i for i, value in enumerate(labels.tolist()) if value is None or str(value) == "<NA>" or value != value]
    if missing:
        raise ValueError(f"{name} has no label at {missing[0]}, expected one for each sample; drop those without")
    if classes is None:
        try:
            found, codes = np.unique(labels, return_inverse=True)
        except TypeError:
            kinds = sorted({type(value).__name__ for value in labels.tolist()})
            raise TypeError(f"{name} has labels of the types {' and '.join(kinds)}, expected one type") from None
        if found.dtype.kind == "O" and all(isinstance(value, str) for value in found):
            found = found.astype(str)
        if len(found) > max(2, len(labels) / 2):
            raise ValueError(
                f"{name} has {len(found)} different values in {len(labels)} samples, expected labels of classes; "
                "is it the right column, or are they numbers to predict, for a task and a score of regression?"
            )
        if len(found) < 2:
            raise ValueError(f"{name} has one class, {found.tolist()[0]!r}, expected at least two; is it the right column?")
        try:
            as_classes(found)  # before a long search: no model could be made of it
        except TypeError:
            kind = type(found.tolist()[0]).__name__
            raise TypeError(
                f"{name} has labels of the type {kind}, expected numbers, texts or booleans; turn them into texts"
            ) from None
        return codes.astype(np.int64), found
    known = as_classes(classes)
    positions = {value: position for position, value in enumerate(known.tolist())}
    unknown = [value for value in labels.tolist() if value not in positions]
    if unknown:
        raise ValueError(f"{name} has the label {unknown[0]!r}, expected one of {', '.join(map(repr, list(positions)[:10]))}")
    return np.array([positions[value] for value in labels.tolist()], dtype=np.int64), known
