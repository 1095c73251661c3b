"""The samples of a search: x and y as checked arrays with one row a sample."""

from typing import Any

from numpy.typing import ArrayLike, NDArray

from tinygrad_lab.training.data import check_labels, check_rows, check_same_length

Array = NDArray[Any]


def as_samples(x: ArrayLike, y: ArrayLike, label: str = "") -> tuple[Array, Array]:
    """Return x and y as arrays that a Trainer can take.

    Parameters
    ----------
    x, y : array_like
        Real, finite numbers of shape (samples, features); one dimension means one feature. Integers of one dimension may
        be the labels of classes: as y, they stay as they are.
    label : str, default=""
        Stands before x and y in error messages, such as ``"test "``.

    Returns
    -------
    x, y : ndarray
        float32 stays float32, everything else but labels is float64.

    Raises
    ------
    TypeError
        If the values are not real numbers: strings, objects, complex.
    ValueError
        If the shapes are ragged, empty or do not agree, or a value is NaN or infinite.

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
    labels = check_labels(f"{label}y", y)
    targets = check_rows(f"{label}y", y) if labels is None else labels
    check_same_length(**{f"{label}x": samples, f"{label}y": targets})
    return samples, targets
