"""Checks of the data of a training: arrays of finite numbers, with one row for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinygrad_lab.checks import is_finite_number
from tinygrad_lab.nn.losses import Loss
from tinygrad_lab.training.columns import as_numbers, labels_of


def check_rows(name: str, data: ArrayLike, dtype: DTypeLike | None = None, missing: bool = False) -> np.ndarray:
    """Return `data` as an array with one row for each sample; a 1-D array is one feature.

    Parameters
    ----------
    name : str
        What the error messages call the data.
    data : array_like, shape (samples, ...) or (samples,)
    dtype : {float64, float32}, optional
        Of the result; by default float32 stays float32 and everything else becomes float64.
    missing : bool
        Whether nan may be where a value is missing.

    Returns
    -------
    ndarray of two axes or more

    Raises
    ------
    TypeError
        If the data are complex, text or objects.
    ValueError
        If they are ragged, empty, or hold nan or infinity; the message names the first such place.

    Examples
    --------
    >>> check_rows("x", [1, 2]).shape
    (2, 1)
    >>> check_rows("x", [1.0, float("nan")])
    Traceback (most recent call last):
    ValueError: x holds nan at (1,), expected finite numbers of float64
    """
    array = _real_array(name, data)
    if not array.ndim or not array.size:
        raise ValueError(f"{name} has shape {array.shape}, expected at least one sample, of shape (samples, features)")
    if dtype is None:
        dtype = np.float32 if array.dtype == np.float32 else np.float64
    with np.errstate(over="ignore"):  # a number too large for single precision is found below
        rows = (array[:, None] if array.ndim == 1 else array).astype(dtype, order="C")
    finite = (~np.isinf(rows) if missing else np.isfinite(rows)).reshape(array.shape)
    if not finite.all():
        position = tuple(int(i) for i in np.argwhere(~finite)[0])
        labels = labels_of(data)
        where = f"{position}, column {labels[position[1]]!r}" if labels else f"{position}"
        raise ValueError(f"{name} holds {array[position]} at {where}, expected finite numbers of {rows.dtype}")
    return rows


def check_labels(name: str, data: ArrayLike) -> np.ndarray | None:
    """Return a copy of `data` where it is a 1-D array of integers, which may be class labels; else None."""
    array = _real_array(name, data)
    return array.copy() if array.ndim == 1 and array.dtype.kind in "iu" else None


def check_weights(name: str, data: ArrayLike, samples: int, dtype: np.dtype) -> np.ndarray:
    """Return sample weights as an array of shape (samples,).

    Raises
    ------
    ValueError
        If the shape differs, a weight is negative or not finite, or all are 0.
    """
    array = _real_array(name, data).astype(dtype)
    if array.shape != (samples,):
        raise ValueError(f"{name} has shape {array.shape}, expected ({samples},), one weight a sample")
    if not np.isfinite(array).all() or array.min() < 0 or not array.any():
        raise ValueError(f"{name} runs from {array.min()} to {array.max()}, expected finite weights of at least 0, not all 0")
    return array


def check_same_length(**arrays: Any) -> None:
    """Raise ValueError where the arrays differ in their number of rows."""
    if len({len(array) for array in arrays.values()}) > 1:
        counts = " and ".join(f"{name} has {len(array)} samples" for name, array in arrays.items())
        raise ValueError(f"{counts}, expected the same number")


def split_rows(
    data: Sequence[np.ndarray], fraction: float, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Split off a random fraction of the rows, of each class label its share. Both parts keep the order of the rows.

    Parameters
    ----------
    data : sequence of ndarray
        x, y and perhaps weights. A one-dimensional y holds class labels.
    fraction : float
        Between 0 and 1.
    rng : numpy.random.Generator

    Returns
    -------
    train, held_out : list of ndarray
        Of each label, the number of rows that are held out is its share rounded down or up.

    Raises
    ------
    ValueError
        If a part would be empty.

    Examples
    --------
    >>> labels = np.array([0, 1, 0, 1, 0, 1])
    >>> train, held_out = split_rows([np.ones((6, 1)), labels], 1 / 3, np.random.default_rng(0))
    >>> train[1], held_out[1]
    (array([0, 1, 0, 1]), array([0, 1]))
    """
    rows, labels = len(data[0]), data[1]
    count = round(fraction * rows)
    if not 0 < count < rows:
        raise ValueError(
            f"validation_fraction={fraction} holds out {count} of {rows} samples, expected at least one, but not all; change it"
        )
    order = rng.permutation(rows)
    if labels.ndim == 1:
        order = order[np.argsort(labels[order], kind="stable")]
    # Positions at equal distances in an order sorted by label: each label gets its share.
    held_out = np.zeros(rows, bool)
    held_out[order[((np.arange(count) + rng.random()) * (rows / count)).astype(int)]] = True
    return [array[~held_out] for array in data], [array[held_out] for array in data]


def check_class_weight(given: Any, loss: Loss) -> str | tuple[float, ...] | None:
    """Return the class weights of a Trainer, or raise an error."""
    if given is None:
        return None
    if not loss.class_labels:
        raise ValueError(f"Trainer: class_weight is {given!r} for the loss {loss!r}, expected None, or a loss of class labels")
    if isinstance(given, str) and given == "balanced":
        return given
    if not isinstance(given, (list, tuple, np.ndarray)) or not all(is_finite_number(x) and x >= 0 for x in given):
        raise ValueError(f"Trainer: class_weight is {given!r}, expected 'balanced', or a number of at least 0 for each class")
    return tuple(map(float, given))


def weigh_classes(data: Sequence[np.ndarray], class_weight: str | Sequence[float]) -> list[np.ndarray]:
    """Return x, y and weights, in which each row has the weight of its class as a further factor.

    "balanced" gives the class c the weight n / (k n_c), for n rows (or the sum of their weights) of k classes.

    Examples
    --------
    >>> weigh_classes([np.ones((3, 1)), np.array([0, 1, 1])], "balanced")[2]
    array([1.5 , 0.75, 0.75])
    """
    x, labels, *weight = data
    if labels.ndim != 1:
        raise ValueError(f"class_weight: y has shape {labels.shape} of {labels.dtype}, expected integer labels of shape (n,)")
    own = weight[0] if weight else np.ones(len(x), x.dtype)
    if isinstance(class_weight, str):
        _, numbers = np.unique(labels, return_inverse=True)
        totals = np.bincount(numbers, weights=own)
        present = totals > 0
        factors = np.divide(totals.sum(), totals * present.sum(), out=np.zeros_like(totals), where=present)
    else:
        numbers, factors = labels, np.array(class_weight)
        if labels.max() >= len(factors):
            raise ValueError(f"class_weight: has {len(factors)} weights, expected one for each label up to {labels.max()}")
    return [x, labels, (own * factors[numbers]).astype(own.dtype)]


def _real_array(name: str, data: ArrayLike) -> np.ndarray:
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost; fill it or drop those samples")
    numbers = as_numbers(name, data)
    try:
        array = np.asarray(numbers)
    except ValueError as error:
        raise ValueError(f"{name} is ragged, expected rows of equal length ({error})") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}, expected real numbers")
    return array
