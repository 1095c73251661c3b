"""Cross-validation folds: which samples train and which validate.

n samples -> order (shuffled once) -> n_splits contiguous parts -> part i validates, the rest trains, in that order

all samples --outer splitter--> outer training set --splitter--> its inner folds, on which the whole search runs
                           '--> outer test set, on which its best configuration is tested
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search.errors import message_line
from search.trials.data import Array
from tinygrad_lab.checks import install_hint, is_positive_integer

Indices = NDArray[np.intp]
Fold = tuple[Indices, Indices]
P = ParamSpec("P")
Result = TypeVar("Result")


class Splitter(Protocol):
    """An object with scikit-learn's `split`: `KFold` below, or any splitter of scikit-learn."""

    def split(self, x: Any, y: Any = None, groups: Any = None) -> Iterable[tuple[Any, Any]]:
        """Yield the training and the validation indices of each fold."""
        ...


class KFold:
    """Contiguous folds of the samples, which may be shuffled once.

    As in scikit-learn, the first ``n % n_splits`` folds have one sample more. Unlike in scikit-learn, the indices of shuffled
    samples are not sorted. With a batch size of one, the order of the samples changes the training, and the report trains in
    the shuffled order.

    Parameters
    ----------
    n_splits : int
        Number of folds, at least 2.
    shuffle : bool, default=False
        Whether to shuffle the samples before they are split.
    seed : int, optional
        Of the shuffle, by ``numpy.random.default_rng(seed)``. Required with `shuffle`, so that a search that is run again has
        the same folds. If the data are drawn from ``default_rng`` too, give another seed than theirs.

    Raises
    ------
    ValueError
        If `n_splits` is no integer of at least 2, `seed` is no integer of at least 0, or only one of `shuffle` and `seed` is
        given.

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

    def split(self, x: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]:  # noqa: ARG002 - scikit-learn's signature
        """Yield the training and the validation indices of each fold.

        Parameters
        ----------
        x : array_like
            The samples, of which only the number is used.
        y, groups : array_like, optional
            Not used.

        Yields
        ------
        train, validation : ndarray of int
            Indices in the order of the samples, or in shuffled order.

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


DEFAULT_SPLITS = 4


def default_folds(task: str | None, has_groups: bool, seed: int) -> Splitter:
    """Return the folds of a search that is given none: four, which keep groups together and have all classes.

    Without labels and groups this is ``KFold(4, shuffle=True, seed=0)``. Else it is one of scikit-learn's splitters.

    Parameters
    ----------
    task : str or None
        As in `search.trials.data.Samples`.
    has_groups : bool
        Whether the samples have groups.
    seed : int
        Of the order in which labels are drawn.

    Raises
    ------
    ImportError
        If one of scikit-learn's splitters is needed, and it is not installed.

    Examples
    --------
    >>> default_folds("regression", has_groups=False, seed=1)
    KFold(4, shuffle=True, seed=0)
    """
    if task != "classification" and not has_groups:
        return KFold(DEFAULT_SPLITS, shuffle=True, seed=0)
    try:
        from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold
    except ImportError:
        raise ImportError(
            f"folds of {'groups' if has_groups else 'classes'} need scikit-learn, which is not installed: "
            f"{install_hint('sklearn')}; or give folds="
        ) from None
    if task != "classification":
        return GroupKFold(DEFAULT_SPLITS)
    if has_groups:
        return StratifiedGroupKFold(DEFAULT_SPLITS, shuffle=True, random_state=seed % 2**32)
    return StratifiedKFold(DEFAULT_SPLITS, shuffle=True, random_state=seed % 2**32)


def check_group_count(groups: NDArray[Any]) -> None:
    """Raise a ValueError if there are fewer groups than default folds.

    Examples
    --------
    >>> check_group_count(np.array(["a", "b", "b", "c"]))
    Traceback (most recent call last):
    ValueError: groups has 3 different groups, expected at least 4, one for each fold; give fewer folds, as folds=GroupKFold(3)
    """
    count = len(np.unique(groups))
    if count < DEFAULT_SPLITS:
        advice = f"give fewer folds, as folds=GroupKFold({count})" if count > 1 else "give others"
        raise ValueError(
            f"groups has {count} different groups, expected at least {DEFAULT_SPLITS}, one for each fold; {advice}"
        )


def check_class_sizes(y: Array, classes: Sequence[Any], n_folds: int) -> None:
    """Raise a ValueError if a class has fewer samples than there are folds: some training part might lack it.

    Examples
    --------
    >>> check_class_sizes(np.array([0, 1, 0, 0]), ["yes", "no"], n_folds=2)
    Traceback (most recent call last):
    ValueError: class 'no' has 1 of 4 samples, expected at least 2, one for each fold; merge or drop it, or give fewer folds
    """
    counts = np.bincount(y, minlength=len(classes))
    rarest = int(counts.argmin())
    if counts[rarest] < n_folds:
        raise ValueError(
            f"class {classes[rarest]!r} has {counts[rarest]} of {len(y)} samples, expected at least {n_folds}, "
            "one for each fold; merge or drop it, or give fewer folds"
        )


def as_groups(groups: ArrayLike | None, n_samples: int) -> NDArray[Any] | None:
    """Return the groups of the samples as an array, checked.

    Raises
    ------
    TypeError
        If they cannot be compared with each other, such as numbers and strings, or numbers and None.
    ValueError
        If there is not exactly one group for each sample, or one is missing (None, NaN or NA).

    Examples
    --------
    >>> as_groups(["a", "a", "b"], 3)
    array(['a', 'a', 'b'], dtype='<U1')
    """
    if groups is None:
        return None
    labels = np.asanyarray(groups)  # a masked array stays one
    if labels.dtype.kind in "US" and not isinstance(groups, np.ndarray):
        labels = np.asarray(groups, dtype=object)  # NumPy has made strings of numbers, and of what is missing
    if labels.shape != (n_samples,):
        raise ValueError(f"groups has shape {labels.shape}, expected ({n_samples},): the group of each sample")
    for i, label in enumerate(labels):
        # NaN and NaT are not equal to themselves. pandas' NA is neither equal nor unequal.
        if label is None or label is np.ma.masked or type(label).__name__ == "NAType" or label != label:
            raise ValueError(
                f"groups holds {label} at {i}, expected the group of each sample; drop the samples without, or give them one"
            )
    is_of_one_type = labels.dtype.kind == "O" and len(set(map(type, labels))) == 1
    labels = np.asarray(labels.tolist() if is_of_one_type else labels)
    try:
        np.unique(labels)
    except TypeError as error:
        raise TypeError(f"groups holds values that cannot be compared, expected all of one kind: {error}") from None
    return labels


def make_folds(splitter: Splitter, x: Array, y: Array, groups: NDArray[Any] | None = None) -> tuple[Fold, ...]:
    """Return the folds of x and y, checked: valid indices, no empty part, no sample or group in both parts of a fold.

    Parameters
    ----------
    splitter : object with scikit-learn's `split`
    x, y : ndarray
    groups : ndarray, optional
        The group of each sample, passed to the splitter.

    Raises
    ------
    ValueError
        If the splitter raises one, or yields folds that do not pass these checks.

    Examples
    --------
    >>> x = np.zeros((4, 1))
    >>> make_folds(KFold(2), x, x)
    ((array([2, 3]), array([0, 1])), (array([0, 1]), array([2, 3])))
    >>> make_folds(KFold(2), x, x, groups=np.array([1, 2, 2, 3]))
    Traceback (most recent call last):
    ValueError: fold 0: group 2 both trains and validates, expected one of them; use a splitter that keeps groups together, ...
    """
    try:
        splits = list(splitter.split(x, y) if groups is None else splitter.split(x, y, groups))
    except ValueError as error:
        if isinstance(splitter, KFold):
            raise
        raise ValueError(f"{splitter!r}: {message_line(error)}") from error  # scikit-learn does not say whose message it is
    for i, split in enumerate(splits):
        if not isinstance(split, tuple | list) or len(split) != 2:
            raise ValueError(f"fold {i}: a {type(split).__name__} is no pair, expected training and validation indices")
    folds = tuple(
        (_indices(i, "training", train, len(x)), _indices(i, "validation", validation, len(x)))
        for i, (train, validation) in enumerate(splits)
    )
    if not folds:
        raise ValueError(f"{splitter!r} yields no fold, expected at least one")
    for i, (train, validation) in enumerate(folds):
        shared = np.intersect1d(train, validation)
        if shared.size:
            raise ValueError(f"fold {i}: sample {shared[0]} both trains and validates, expected one of them")
        torn = np.intersect1d(groups[train], groups[validation]) if groups is not None else shared
        if torn.size:
            raise ValueError(
                f"fold {i}: group {torn[0]} both trains and validates, expected one of them; "
                f"use a splitter that keeps groups together, such as scikit-learn's GroupKFold, not {splitter!r}"
            )
    return folds


@dataclass(frozen=True)
class OuterFold:
    """The numbers in a layout of one outer fold and of its inner folds."""

    inner: range
    outer: int


@dataclass(frozen=True)
class Layout:
    """All folds of a search, and what each is for.

    Attributes
    ----------
    folds : tuple of (training indices, validation indices)
        A fold's number is its position in this tuple. Order: the search's own folds, once per repeat. Then, for each outer
        fold, its inner folds (once per repeat) and the outer fold itself.
    n_folds : int
        The number of the search's own folds, without repeats.
    repeats : int
        How often each fold is fitted, from other initial weights.
    nested : tuple of OuterFold
        For nested cross-validation, else empty.
    """

    folds: tuple[Fold, ...]
    n_folds: int
    repeats: int
    nested: tuple[OuterFold, ...] = ()

    @property
    def fold_numbers(self) -> range:
        """The numbers of the search's own folds, repeats included."""
        return range(self.n_folds * self.repeats)


def make_layout(
    splitter: Splitter,
    x: Array,
    y: Array,
    groups: NDArray[Any] | None = None,
    outer: Splitter | None = None,
    repeats: int = 1,
) -> Layout:
    """Return the folds of a search, and those of the same search inside each outer training set.

    Raises
    ------
    ValueError
        If a splitter yields invalid folds. The message says whether it is the outer splitter, or in which outer fold it is.

    Examples
    --------
    >>> x = np.zeros((6, 1))
    >>> layout = make_layout(KFold(2), x, x, outer=KFold(3))
    >>> layout.fold_numbers, layout.nested[0], layout.folds[2], layout.folds[4]
    (range(0, 2), OuterFold(inner=range(2, 4), outer=4), (array([4, 5]), array([2, 3])), (array([2, 3, 4, 5]), array([0, 1])))
    """
    own = make_folds(splitter, x, y, groups)
    folds = [*own * repeats]
    nested = []
    for i, (train, test) in enumerate(() if outer is None else _named("outer", make_folds, outer, x, y, groups)):
        groups_inside = None if groups is None else groups[train]
        inside = _named(f"inside outer fold {i}", make_folds, splitter, x[train], y[train], groups_inside)
        inner = tuple((train[inner_train], train[inner_validation]) for inner_train, inner_validation in inside)
        start = len(folds)
        folds += [*inner * repeats, (train, test)]
        nested.append(OuterFold(range(start, len(folds) - 1), len(folds) - 1))
    return Layout(tuple(folds), len(own), repeats, tuple(nested))


def untrained_class(layout: Layout, labels: Array) -> tuple[int, int] | None:
    """Return the first fold whose training part lacks a class, and that class; None if there is none.

    Examples
    --------
    >>> x, labels = np.zeros((4, 1)), np.array([0, 0, 1, 1])
    >>> untrained_class(make_layout(KFold(2), x, labels), labels)
    (0, 0)
    """
    n_classes = int(labels.max()) + 1
    for number, (train, _) in enumerate(layout.folds):
        counts = np.bincount(labels[train], minlength=n_classes)
        if not counts.all():
            return number, int(counts.argmin())
    return None


def _named(where: str, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Call the function, and put `where` before the message of a ValueError."""
    try:
        return function(*args, **kwargs)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _indices(fold: int, part: str, given: Any, n_samples: int) -> Indices:
    indices = np.asarray(given)
    if indices.ndim != 1 or indices.size == 0 or indices.dtype.kind not in "ui":
        raise ValueError(
            f"fold {fold}: {part} part is of shape {indices.shape} and type {indices.dtype}, expected some indices"
        )
    if indices.min() < 0 or indices.max() >= n_samples:
        raise ValueError(f"fold {fold}: {part} index outside the {n_samples} samples, expected 0 to {n_samples - 1}")
    return indices.astype(np.intp)
