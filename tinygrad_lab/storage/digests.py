"""Digests of arrays: equal digests mean equal shapes, dtypes and elements, on every machine.

array --> header with its shape and dtype, elements in little-endian order --> SHA-256
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import numpy as np

Header = Callable[[np.ndarray], str]


def shape_and_dtype(array: np.ndarray) -> str:
    """Return the header of the arrays that a checkpoint describes.

    Examples
    --------
    >>> shape_and_dtype(np.zeros((2, 3)))
    '(2, 3) float64'
    """
    return f"{array.shape} {array.dtype}"


def add_array(digest: hashlib._Hash, array: np.ndarray, header: Header) -> None:
    """Add an array to a digest: first its header, then its elements.

    Parameters
    ----------
    digest : hash object
        Such as ``hashlib.sha256()``.
    array : ndarray
    header : callable
        Takes the array in little-endian order and returns a text with its shape and dtype. Files and stores have different
        headers, which stay as they are, so that the digests in old files remain valid.
    """
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    digest.update(header(array).encode())
    digest.update(array.tobytes())


def digest_arrays(arrays: Iterable[np.ndarray], header: Header = shape_and_dtype) -> str:
    """Return a digest of the shapes, dtypes and elements of some arrays, in their order.

    Examples
    --------
    >>> one, two = np.array([1.0, 2.0]), np.array([[1.0, 2.0]])
    >>> digest_arrays([one]) == digest_arrays([one.copy()]), digest_arrays([one]) == digest_arrays([two])
    (True, False)
    >>> digest_arrays([one]) == digest_arrays([one.astype(">f8")])
    True
    """
    digest = hashlib.sha256()
    for array in arrays:
        add_array(digest, array, header)
    return digest.hexdigest()
