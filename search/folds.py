"""Cross-validation folds: which samples train and which validate.

n samples -> order (shuffled once) -> n_splits contiguous parts -> part i validates, the rest trains, in that order
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from search.data import Array
from tinygrad_lab.checks import is_positive_integer

Indices = NDArray[np.intp]
Fold = tuple[Indices, Indices]


class Splitter(Protocol):
    """Anything with scikit-learn's `split`: `KFold` below, or any splitter of scikit-learn."""

    def split(self, x: Any, y: Any = None) -> Iterable[tuple[Any, Any]]:
        """Yield the training and the validation indices of each fold."""
        ...


class KFold:
    """Contiguous folds of the set, shuffled once or as it is.

    As in scikit-learn, the first ``n % n_splits`` folds have one sample more. Unlike there, the indices of a shuffled
    set stay in shuffled order and are not sorted: with a batch size of one the order of the samples is part of the
    training, and the report trains in the order of the once-shuffled set.

    Parameters
    ----------
    n_splits : int
        Number of folds, at least 2.
    shuffle : bool, default=False
        Whether to shuffle the set before it is cut.
    seed : int, optional
        For the shuffle; required with it, so that a search that is run again finds the same folds.

    Raises
    ------
    ValueError
        If `n_splits` is not an integer of at least 2, the seed is not one of at least 0, or the seed and the shuffle do
        not come together.

    Examples
    --------
    >>> for train, validation in KFold(2).split([0.1, 0.2, 0.3, 0.4, 0.5]):
    ...     print(train, validation)
    [3 4] [0 1 2]
    [0 1 2] [3 4]
    """

    def __init__(self, n_splits: int, shuffle: bool = False, seed: int | None = None) -> None:
        if not is_positive_integer(n_splits) or n_splits < 2:
            raise ValueError(f"KFold({n_splits!r}): expected an integer of at least 2")
        if shuffle and seed is None:
            raise ValueError(f"KFold({n_splits}, shuffle=True): no seed given, expected one, such as seed=0")
        if not shuffle and seed is not None:
            raise ValueError(f"KFold({n_splits}, seed={seed}): the seed has no effect, give shuffle=True with it")
        if shuffle and not (seed == 0 or is_positive_integer(seed)):
            raise ValueError(f"KFold({n_splits}, seed={seed!r}): expected an integer of at least 0 as the seed")
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.seed = seed

    def split(self, x: Any, y: Any = None) -> Iterator[Fold]:  # noqa: ARG002 - scikit-learn's signature
        """Yield the training and the validation indices of each fold.

        Parameters
        ----------
        x : array_like
            The samples; only their number counts.
        y : array_like, optional
            Not used.

        Yields
        ------
        train, validation : ndarray of int
            Indices in the order of the (once-shuffled) set.

        Raises
        ------
        ValueError
            If there are more folds than samples.
        """
        n_samples = len(x)
        if self.n_splits > n_samples:
            raise ValueError(f"KFold({self.n_splits}): {n_samples} samples given, expected at least {self.n_splits}")
        order = np.random.default_rng(self.seed).permutation(n_samples) if self.shuffle else np.arange(n_samples)
        parts = np.array_split(order, self.n_splits)
        for i, validation in enumerate(parts):
            yield np.concatenate(parts[:i] + parts[i + 1 :]), validation

    def __repr__(self) -> str:
        return f"KFold({self.n_splits}, shuffle={self.shuffle}, seed={self.seed})"


def make_folds(splitter: Splitter, x: Array, y: Array) -> tuple[Fold, ...]:
    """Return the folds of x and y, checked: indices of samples, no fold empty, no sample on both sides.

    Raises
    ------
    ValueError
        If the splitter yields anything else.

    Examples
    --------
    >>> x = np.zeros((4, 1))
    >>> make_folds(KFold(2), x, x)
    ((array([2, 3]), array([0, 1])), (array([0, 1]), array([2, 3])))
    """
    folds = tuple(
        (_indices(i, "training", train, len(x)), _indices(i, "validation", validation, len(x)))
        for i, (train, validation) in enumerate(splitter.split(x, y))
    )
    if not folds:
        raise ValueError(f"{splitter!r} yields no fold, expected at least one")
    for i, (train, validation) in enumerate(folds):
        shared = np.intersect1d(train, validation)
        if shared.size:
            raise ValueError(f"fold {i}: sample {shared[0]} both trains and validates, expected one of them")
    return folds


def _indices(fold: int, part: str, given: Any, n_samples: int) -> Indices:
    indices = np.asarray(given)
    if indices.ndim != 1 or indices.size == 0 or indices.dtype.kind not in "ui":
        raise ValueError(
            f"fold {fold}: {part} part is of shape {indices.shape} and type {indices.dtype}, expected some indices"
        )
    if indices.min() < 0 or indices.max() >= n_samples:
        raise ValueError(f"fold {fold}: {part} index outside the {n_samples} samples, expected 0 to {n_samples - 1}")
    return indices.astype(np.intp)
