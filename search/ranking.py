"""The ranking: the configurations of a search, best first.

configurations, outcomes of all their fits --rank--> Ranking --> table, CSV, data frame
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from search.configuration import Configuration, as_columns, canonical_text
from search.fits import Outcome
from search.output import write_csv
from search.table import Rows, text_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RankedConfiguration:
    """One row of a ranking.

    Attributes
    ----------
    rank : int
        From 1.
    configuration : dict
        What was fitted.
    mean, std : float
        Mean and standard deviation (``ddof=0``, as in scikit-learn) of the folds' validation losses; NaN if a fit did
        not end as ``"done"``.
    losses : tuple of float
        The validation loss of each fold; with repeats, of each fold in the first repeat, then in the second, and so on.
    status : str
        ``"done"``, or that of the first fold that is not.
    reason : str
        Which fold is not done, and why; else empty.
    """

    rank: int
    configuration: Configuration
    mean: float
    std: float
    losses: tuple[float, ...]
    status: str
    reason: str


class Ranking(Rows[RankedConfiguration]):
    """The configurations of a search, lowest mean validation loss first.

    Those with a fit that failed or diverged come last. Equal means stand in the order of the configurations' canonical
    text, so that the ranking depends on results alone.

    Parameters
    ----------
    rows : iterable of RankedConfiguration
        In order of their rank, with equally many folds.
    repeats : int, default=1
        How often each fold was fitted, from other initial weights.

    Examples
    --------
    >>> ranking = rank([{"lr": 0.1}, {"lr": 0.2}], {('{"lr":0.1}', 0): Outcome("done", 0.75, 0.5),
    ...                                             ('{"lr":0.2}', 0): Outcome("done", 0.25, 0.5)}, n_folds=1)
    >>> print(ranking)
    rank   lr  mean  std  fold 0
       1  0.2  0.25    0    0.25
       2  0.1  0.75    0    0.75
    >>> ranking[0].configuration
    {'lr': 0.2}
    """

    def __init__(self, rows: Iterable[RankedConfiguration], repeats: int = 1) -> None:
        super().__init__(rows)
        self.repeats = repeats

    @property
    def fold_names(self) -> list[str]:
        """The names of the folds, in the order of a row's losses."""
        n_fits = len(self._rows[0].losses) if self._rows else 0
        return _fold_names(n_fits // self.repeats, self.repeats)

    def table(self, top: int = 20) -> str:
        """Return the first rows as an aligned text table; reasons are shown where a fit is not done."""
        rows = self._rows[:top]
        header, body = self._columns(rows)
        if all(row.status == "done" for row in rows):
            header, body = header[:-2], [line[:-2] for line in body]
        return text_table(header, body)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write all rows to a CSV file, whole or not at all; floats round-trip to the bit.

        Raises
        ------
        SearchError
            If the file cannot be written.
        """
        write_csv(path, *self._columns(self._rows))

    def to_frame(self) -> "pd.DataFrame":
        """Return all rows as a pandas data frame.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_frame needs pandas, which is not installed; pip install pandas, or to_csv") from None
        header, body = self._columns(self._rows)
        return pd.DataFrame(body, columns=header)

    def _columns(self, rows: Sequence[RankedConfiguration]) -> tuple[list[str], list[list[Any]]]:
        """Return the header and the cells of some rows; status and reason are the last two."""
        names, values = as_columns([row.configuration for row in rows])
        header = ["rank", *names, "mean", "std", *self.fold_names, "status", "reason"]
        body = [
            [row.rank, *cells, row.mean, row.std, *row.losses, row.status, row.reason]
            for row, cells in zip(rows, values, strict=True)
        ]
        return header, body


def mean_and_std(losses: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the standard deviation (``ddof=0``) of some losses; infinite where they overflow.

    Examples
    --------
    >>> mean_and_std([1.0, 2.0])
    (1.5, 0.5)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.mean(losses)), float(np.std(losses))


def rank(
    configurations: Iterable[Mapping[str, Any]],
    outcomes: Mapping[tuple[str, int], Outcome],
    n_folds: int,
    repeats: int = 1,
) -> Ranking:
    """Return the ranking of configurations whose fits have all ended.

    Parameters
    ----------
    configurations : iterable of mapping
        In any order.
    outcomes : mapping
        From canonical text and fold to the outcome, as `Store.outcomes` gives them. Fold k in repeat r has the number
        ``r * n_folds + k``.
    n_folds : int
        Number of folds.
    repeats : int, default=1
        How often each fold was fitted, from other initial weights.
    """
    names = _fold_names(n_folds, repeats)
    rows = sorted((_unranked(configuration, outcomes, names) for configuration in configurations), key=_order)
    return Ranking((replace(row, rank=place) for place, row in enumerate(rows, start=1)), repeats)


def _fold_names(n_folds: int, repeats: int) -> list[str]:
    if repeats == 1:
        return [f"fold {fold}" for fold in range(n_folds)]
    return [f"fold {fold} repeat {repeat}" for repeat in range(repeats) for fold in range(n_folds)]


def _unranked(
    configuration: Mapping[str, Any], outcomes: Mapping[tuple[str, int], Outcome], names: Sequence[str]
) -> RankedConfiguration:
    text = canonical_text(configuration)
    fits = [outcomes[text, number] for number in range(len(names))]
    losses = tuple(outcome.validation_loss for outcome in fits)
    mean, std, status, reason = math.nan, math.nan, "done", ""
    bad = next((number for number, outcome in enumerate(fits) if outcome.status != "done"), None)
    if bad is None:
        mean, std = mean_and_std(losses)
    else:
        status, reason = fits[bad].status, f"{names[bad]}: {fits[bad].reason}"
    return RankedConfiguration(0, dict(configuration), mean, std, losses, status, reason)


def _order(row: RankedConfiguration) -> tuple[bool, float, str]:
    done = row.status == "done"
    return not done, row.mean if done else 0.0, canonical_text(row.configuration)
