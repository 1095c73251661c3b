"""What a search's results depend on, as digests that fit in a store.

A resumed search must be the search that was begun. So a store carries the fingerprint of its data, grid, folds and
seed, and is refused where one of them differs. What `build` does inside cannot be seen from here: after a change of its
code, use another store.
"""

import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from search.configuration import digest
from search.data import Array
from search.folds import Fold


def fingerprint(
    x: Array, y: Array, configurations: Iterable[Mapping[str, Any]], folds: Iterable[Fold], seed: int
) -> dict[str, str]:
    """Return the digests of a search's data, grid and folds, and its seed.

    The grid counts as a set: neither the order of its axes nor of its values changes a result. The folds count by their
    actual indices, in order.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.zeros((2, 1))
    >>> one = fingerprint(x, x, [{"lr": 0.1}, {"lr": 0.2}], [], seed=0)
    >>> two = fingerprint(x, x, [{"lr": 0.2}, {"lr": 0.1}], [], seed=1)
    >>> [key for key in one if one[key] != two[key]]
    ['seed']
    """
    return {
        "data": _digest_arrays((x, y)),
        "grid": hashlib.sha256("".join(sorted(digest(item) for item in configurations)).encode()).hexdigest(),
        "folds": _digest_arrays(indices for fold in folds for indices in fold),
        "seed": str(seed),
    }


def package_version() -> str:
    """Return the version of the installed tinygrad-lab, which a store records.

    Examples
    --------
    >>> isinstance(package_version(), str)
    True
    """
    try:
        return version("tinygrad-lab")
    except PackageNotFoundError:
        return "not installed"


def _digest_arrays(arrays: Iterable[Array]) -> str:
    content = hashlib.sha256()
    for array in arrays:
        content.update(f"{array.dtype.str} {array.shape} ".encode())
        content.update(array.tobytes())
    return content.hexdigest()
