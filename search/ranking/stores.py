"""Two stores side by side: what differs between two searches, and how the losses of the same configurations differ.

one store --.
             +--> fingerprints --> what differs: data, folds, seed, builder, ...
other     --'     configurations in both, losses on the same folds --> paired differences with intervals

For example: the same grid with another builder, another set of features, or another version of a package.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from search.errors import SearchError
from search.output import plural
from search.ranking.comparison import corrected_intervals
from search.ranking.measure import Measure
from search.ranking.stored import StoredSearch
from search.space.configuration import Configuration, as_columns
from search.store.differences import DIGEST, differences
from search.store.store import OWN_ENTRIES
from search.table import Rows, text_table

# Entries of a store that are no part of the fingerprint of its search, beside notes of several lines.
NOTES = (*OWN_ENTRIES, "plan", "settings folder")


@dataclass(frozen=True)
class StoredPair:
    """One configuration in both stores.

    Attributes
    ----------
    configuration : dict
        What was fitted.
    one, other : float
        Its mean loss in each store, or the mean of the score that decides.
    difference : float
        The mean in the other store minus the mean in the first.
    low, high : float
        Confidence interval of the difference. NaN with one fold, or if the stores have different folds.
    is_distinguishable : bool
        Whether the interval does not contain 0.

    Examples
    --------
    >>> pair = StoredPair(Configuration({"lr": 0.1}), 0.5, 0.4, difference=-0.1, low=-0.2, high=0.0, is_distinguishable=False)
    >>> pair.other
    0.4
    """

    configuration: Configuration
    one: float
    other: float
    difference: float
    low: float
    high: float
    is_distinguishable: bool


class StoreComparison(Rows[StoredPair]):
    """The configurations that are done in both of two stores, in the order of the ranking of the first.

    Attributes
    ----------
    different : dict of str to str
        What differs between the searches, such as ``{"seed": "0 there, 1 here"}``. There is the first store, here the other.
    only_one, only_other : int
        The number of configurations that are done in one of the stores only.
    confidence : float
        Of the intervals.
    is_paired : bool
        Whether both searches have the same folds. Only then are there intervals.
    measure : Measure
        What was compared: the loss, or the score that decides.

    Notes
    -----
    `compare_stores` returns one.

    Examples
    --------
    >>> pair = StoredPair(Configuration({"lr": 0.1}), 0.5, 0.4, -0.1, -0.2, 0.0, is_distinguishable=False)
    >>> comparison = StoreComparison([pair], {"seed": "0 there, 1 here"}, 0, 3, 0.95, is_paired=True, measure=Measure())
    >>> len(comparison), comparison.different["seed"]
    (1, '0 there, 1 here')
    """

    def __init__(
        self,
        rows: Iterable[StoredPair],
        different: Mapping[str, str],
        only_one: int,
        only_other: int,
        confidence: float,
        is_paired: bool,
        measure: Measure,
    ) -> None:
        super().__init__(rows)
        self.different = dict(different)
        self.only_one = only_one
        self.only_other = only_other
        self.confidence = confidence
        self.is_paired = is_paired
        self.measure = measure

    def __str__(self) -> str:
        return f"{self.table()}\n{self._summary()}"

    def table(self, top: int = 20) -> str:
        """Return the first rows as an aligned text table."""
        rows = self._rows[:top]
        names, values = as_columns([row.configuration for row in rows])
        header = [*names, "one", "other", "difference", "low", "high", "distinguishable"]
        body = [
            [*cells, row.one, row.other, row.difference, row.low, row.high, row.is_distinguishable]
            for row, cells in zip(rows, values, strict=True)
        ]
        return text_table(header, body)

    def _summary(self) -> str:
        lines = ["The searches are the same."]
        if self.different:
            lines = [
                "The searches differ (there: the first store, here: the other) in",
                *map(": ".join, self.different.items()),
            ]
        counts = f"{len(self)} {plural(len(self), 'configuration')} in both, {self.only_one} in the first only"
        lines.append(f"{counts}, {self.only_other} in the other only.")
        if not self.is_paired:
            lines.append("The folds differ, so the losses are not of the same samples: there are no intervals.")
        elif any(row.low == row.low for row in self):
            lower = sum(row.high < 0.0 for row in self)
            higher = sum(row.low > 0.0 for row in self)
            lines.append(
                f"In the other store {lower} have a lower {self.measure.name}, {higher} a higher one, "
                f"{len(self) - lower - higher} are not distinguishable ({100.0 * self.confidence:g} % intervals)."
            )
        else:
            lines.append("With one fold there are no intervals.")
        return "\n".join(lines)


def compare_stores(
    one: str | os.PathLike[str] | StoredSearch, other: str | os.PathLike[str] | StoredSearch, confidence: float = 0.95
) -> StoreComparison:
    """Compare the configurations that are done in both of two stores.

    The differences on the same folds have the intervals of `search.ranking.comparison.compare`, which also says what they
    mean. Folds are the same if they have the same sample numbers. If the data differ, for instance in their features, the
    intervals are right only if a number stands for the same sample in both.

    Parameters
    ----------
    one, other : path-like or StoredSearch
        The stores. Neither search needs to be complete.
    confidence : float, default=0.95
        Of the intervals, between 0 and 1.

    Returns
    -------
    StoreComparison
        In the order of the ranking of `one`.

    Raises
    ------
    SearchError
        If the stores rank by different scores, or no configuration is done in both.
    StoreError
        If a store cannot be read.
    ValueError
        If `confidence` is out of range.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from search import GridSearch, KFold, ParameterGrid
    >>> from search.testing import build_polynomial
    >>> x = np.linspace(-1, 1, 24)
    >>> grid = ParameterGrid(degree=[1, 2], lr=[0.5])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     stores = [Path(folder, name) for name in ("one.sqlite", "other.sqlite")]
    ...     for store, y in zip(stores, (x**2, x**2 + 0.1 * np.sin(40 * x))):
    ...         _ = GridSearch(build_polynomial, grid, KFold(4), store, workers=1).run(x, y, progress=False)
    ...     print(compare_stores(*stores))
    degree   lr          one       other  difference          low        high  distinguishable
         2  0.5  0.000586756  0.00349766  0.00291091  0.000695298  0.00512651  True
         1  0.5     0.268165       0.271  0.00283424   -0.0112618   0.0169303  False
    The searches differ (there: the first store, here: the other) in
    data: the same shapes, other values
    2 configurations in both, 0 in the first only, 0 in the other only.
    In the other store 0 have a lower loss, 1 a higher one, 1 are not distinguishable (95 % intervals).
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"compare_stores: confidence={confidence!r}, expected a number between 0 and 1, such as 0.95")
    first, second = (store if isinstance(store, StoredSearch) else StoredSearch(store) for store in (one, other))
    there, here = _fingerprint(first), _fingerprint(second)
    different = differences(there, dict.fromkeys(there, "none") | here)
    if "scoring" in different:
        raise SearchError(f"compare_stores: the scores differ ({different['scoring']}), expected stores that rank by the same")
    rankings = [store.ranking() for store in (first, second)]
    ranked = [{row.configuration.text: row for row in ranking.done} for ranking in rankings]
    shared = [text for text in ranked[0] if text in ranked[1]]
    if not shared:
        raise SearchError("compare_stores: no configuration is done in both stores, expected at least one")
    measure = rankings[0].measure
    one_means, other_means = ([measure.shown(rows[text].objective) for text in shared] for rows in ranked)
    is_paired = bool(first.folds) and _own_folds(first) == _own_folds(second)
    if is_paired:
        scores = np.array([[[*map(measure.shown, rows[text].objectives)] for text in shared] for rows in ranked])
        by_fold = scores.reshape(2, len(shared), first.repeats, -1).mean(axis=2)
        differing, lows, highs = corrected_intervals(by_fold[1] - by_fold[0], first.folds, confidence)
    else:
        differing = np.subtract(other_means, one_means)
        lows = highs = np.full(len(shared), np.nan)
    pairs = [
        StoredPair(
            configuration=ranked[0][text].configuration,
            one=one_means[i],
            other=other_means[i],
            difference=float(differing[i]),
            low=float(lows[i]),
            high=float(highs[i]),
            is_distinguishable=bool(lows[i] > 0.0 or highs[i] < 0.0),
        )
        for i, text in enumerate(shared)
    ]
    only_one, only_other = (len(rows) - len(pairs) for rows in ranked)
    return StoreComparison(pairs, different, only_one, only_other, confidence, is_paired, measure)


def _fingerprint(store: StoredSearch) -> dict[str, str]:
    return {key: text for key, text in store.meta.items() if key not in NOTES and "\n" not in text}


def _own_folds(store: StoredSearch) -> list[str]:
    """Return the digest of the folds and repeats by which a search ranks, without those of nested cross-validation."""
    return store.meta.get("folds", "").split(DIGEST)[1:2]
