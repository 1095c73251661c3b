"""The samples of a search: x and y as checked arrays, in which each row is a sample."""

from typing import Any

from numpy.typing import ArrayLike, NDArray

from tinygrad_lab.training.data import check_labels, check_rows, check_same_length

Array = NDArray[Any]
DataSet = tuple[ArrayLike, ArrayLike]  # x and y


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
    labels = check_labels(f"{label}y", y)
    targets = check_rows(f"{label}y", y) if labels is None else labels
    check_same_length(**{f"{label}x": samples, f"{label}y": targets})
    return samples, targets
