"""The comparison: which configurations of a ranking differ from its best by more than the folds scatter.

    losses of all configurations --average over repeats, minus the best's on the same fold--> paired differences
        --Student's t, corrected for training sets that overlap--> interval --> holds 0: not distinguishable from the best

Folds differ in difficulty, and a hard one is hard for every configuration. The paired difference cancels that; the two means,
each with its own scatter, do not.
"""

import math
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass

import numpy as np

from search.errors import SearchError
from search.ranking.ranking import Ranking
from search.space.configuration import Configuration, as_columns
from search.table import Rows, text_table


@dataclass(frozen=True)
class ComparedConfiguration:
    """One configuration beside the best.

    Attributes
    ----------
    rank : int
        Its place in the ranking.
    configuration : dict
        What was fitted.
    mean : float
        Mean validation loss, as in the ranking.
    standard_error : float
        Of that mean: the standard deviation over the folds (``ddof=1``) by the root of their number; NaN with one fold.
    difference : float
        Mean over the folds of its loss minus the best's.
    low, high : float
        Confidence interval of the difference; NaN with one fold.
    is_distinguishable : bool
        Whether the whole interval lies above 0.
    """

    rank: int
    configuration: Configuration
    mean: float
    standard_error: float
    difference: float
    low: float
    high: float
    is_distinguishable: bool


class Comparison(Rows[ComparedConfiguration]):
    """The configurations of a ranking whose fits are all done, each beside the best, in order of their rank.

    Parameters
    ----------
    rows : iterable of ComparedConfiguration
        In order of their rank; the first is the best.
    n_folds : int
        Over how many folds the differences were taken.
    confidence : float
        Of the intervals.

    Notes
    -----
    `compare` makes one, and says what the intervals mean.
    """

    def __init__(self, rows: Iterable[ComparedConfiguration], n_folds: int, confidence: float) -> None:
        super().__init__(rows)
        self.n_folds = n_folds
        self.confidence = confidence

    def __str__(self) -> str:
        return f"{self.table()}\n{self._summary()}"

    @property
    def best(self) -> ComparedConfiguration:
        """The configuration of the lowest mean loss."""
        if not self._rows:
            raise SearchError("every configuration failed or diverged; the ranking gives the reasons")
        return self._rows[0]

    @property
    def indistinguishable(self) -> tuple[ComparedConfiguration, ...]:
        """Those whose interval does not lie above 0, the best among them."""
        return tuple(row for row in self if not row.is_distinguishable)

    @property
    def within_one_standard_error(self) -> tuple[ComparedConfiguration, ...]:
        """Those whose mean is at most the best's plus the best's standard error; with one fold, those that equal the best."""
        if not self._rows:
            return ()
        allowance = 0.0 if math.isnan(self.best.standard_error) else self.best.standard_error
        return tuple(row for row in self if row.mean <= self.best.mean + allowance)

    def simplest(self, complexity: Callable[[Configuration], float]) -> ComparedConfiguration:
        """Return the simplest configuration within one standard error of the best: the one-standard-error rule.

        Parameters
        ----------
        complexity : callable
            From a configuration to a number, such as that of its parameters. Of equals the better ranked is returned.

        Raises
        ------
        SearchError
            If no configuration is done.

        References
        ----------
        L. Breiman, J. Friedman, R. Olshen and C. Stone, Classification and Regression Trees, 1984, chapter 3.
        """
        candidates = self.within_one_standard_error or (self.best,)  # without any, `best` raises the error
        return min(candidates, key=lambda row: complexity(row.configuration))

    def table(self, top: int = 20) -> str:
        """Return the first rows as an aligned text table."""
        rows = self._rows[:top]
        names, values = as_columns([row.configuration for row in rows])
        header = ["rank", *names, "mean", "standard error", "difference", "low", "high", "distinguishable"]
        body = [
            [row.rank, *cells, row.mean, row.standard_error, row.difference, row.low, row.high, row.is_distinguishable]
            for row, cells in zip(rows, values, strict=True)
        ]
        return text_table(header, body)

    def _summary(self) -> str:
        if self.n_folds == 1:
            return "With one fold there are no intervals: no configuration can be distinguished from the best."
        return (
            f"Not distinguishable from the best: {len(self.indistinguishable)} of {len(self)} configurations, itself included. "
            f"The {100.0 * self.confidence:g} % interval\n"
            f"of their difference to it, on the same {self.n_folds} folds, does not lie above 0.\n"
            f"Within one standard error of the best: {len(self.within_one_standard_error)}."
        )


def compare(
    ranking: Ranking,
    *,
    folds: Sequence[tuple[Sized, Sized]],
    repeats: int = 1,
    confidence: float = 0.95,
) -> Comparison:
    """Compare each configuration of a ranking with the best, on the same folds.

    With d_k the loss on fold k minus the best's, n the size of a training part, m that of a validation part and K folds, the
    interval is

        mean(d) ± t(K - 1) √((1/K + m/n) var(d))

    Student's own has 1/K alone, as for independent d_k. Those of folds are not independent, because the training parts
    share samples: the interval would be too narrow. m/n is the correction of Nadeau and Bengio, made for random splits and in
    common use for folds.

    Parameters
    ----------
    ranking : Ranking
        Those that are not done are left out.
    folds : sequence of (training indices, validation indices)
        Of the search; only their sizes count.
    repeats : int, default=1
        How often each fold was fitted, from other initial weights. ``losses[r * len(folds) + k]`` of a row is fold k in
        repeat r. Repeats are averaged before the folds are paired: they make the loss on a fold more certain, and are no
        further folds.
    confidence : float, default=0.95
        Of the intervals, between 0 and 1.

    Returns
    -------
    Comparison
        In order of the ranking. With one fold it has no intervals, and nothing is distinguishable.

    Raises
    ------
    ValueError
        If a configuration has not one loss for each fold in each repeat, or `repeats` or `confidence` is out of range.

    Notes
    -----
    What an interval says: if these two configurations had been named before the search, it would hold the difference of
    their expected losses in about 95 of 100 such searches. What it does not say:

    - That configurations are equal. Four folds leave three degrees of freedom and a factor t of 3.2: only a difference that is
      large beside its scatter shows. "Not distinguishable" means that these folds cannot tell. So does a configuration with
      a very large loss on a single fold, whose interval is as wide as that loss.
    - That all intervals hold at once. Of 400 configurations as good as the best, 95 % intervals would call some worse.
    - That the best is the best. It was chosen by the same losses, luck included, so its mean is too low and the differences
      to it are too large.

    References
    ----------
    C. Nadeau and Y. Bengio, Inference for the generalization error, Machine Learning 52, 2003, pp. 239-281.

    R. Bouckaert and E. Frank, Evaluating the replicability of significance tests for comparing learning algorithms, PAKDD
    2004: the correction for repeated cross-validation.

    Examples
    --------
    >>> from search.ranking.ranking import RankedConfiguration
    >>> ranking = Ranking([RankedConfiguration(1, {"lr": 0.1}, 0.5, 0.2, (0.3, 0.5, 0.7), "done", ""),
    ...                    RankedConfiguration(2, {"lr": 0.2}, 0.6, 0.2, (0.4, 0.4, 1.0), "done", ""),
    ...                    RankedConfiguration(3, {"lr": 0.9}, 1.5, 0.2, (1.3, 1.5, 1.7), "done", "")])
    >>> comparison = compare(ranking, folds=[(range(60), range(30))] * 3)
    >>> print(comparison.table())
    rank   lr  mean  standard error  difference        low      high  distinguishable
       1  0.1   0.5         0.11547           0          0         0  False
       2  0.2   0.6             0.2         0.1  -0.685553  0.885553  False
       3  0.9   1.5         0.11547           1          1         1  True
    >>> comparison.simplest(lambda configuration: -configuration["lr"]).configuration
    {'lr': 0.2}
    """
    from scipy.stats import t

    if not 0.0 < confidence < 1.0:
        raise ValueError(f"compare: confidence={confidence!r}, expected a number between 0 and 1, such as 0.95")
    if repeats < 1:
        raise ValueError(f"compare: repeats={repeats!r}, expected at least 1")
    n_folds = len(folds)
    done = ranking.done
    for row in done:
        if len(row.losses) != n_folds * repeats:
            raise ValueError(
                f"compare: configuration of rank {row.rank} has {len(row.losses)} losses, "
                f"expected {n_folds * repeats}: one for each of {n_folds} folds in each of {repeats} repeats"
            )
    if not done:
        return Comparison((), n_folds, confidence)

    overlap = sum(len(validation) for _, validation in folds) / sum(len(train) for train, _ in folds)
    with np.errstate(over="ignore", invalid="ignore"):  # losses may be finite and still too large to square
        losses = np.array([row.losses for row in done]).reshape(len(done), repeats, n_folds).mean(axis=1)
        paired = losses - losses[0]
        standard_errors = _deviations(losses) / math.sqrt(n_folds)
        differences = paired.mean(axis=1)
        margins = t.ppf((1.0 + confidence) / 2.0, n_folds - 1) * math.sqrt(1.0 / n_folds + overlap) * _deviations(paired)
        lows, highs = differences - margins, differences + margins
    rows = [
        ComparedConfiguration(
            rank=row.rank,
            configuration=row.configuration,
            mean=row.mean,
            standard_error=float(standard_errors[i]),
            difference=float(differences[i]),
            low=float(lows[i]),
            high=float(highs[i]),
            is_distinguishable=bool(lows[i] > 0.0),
        )
        for i, row in enumerate(done)
    ]
    return Comparison(rows, n_folds, confidence)


def _deviations(values: np.ndarray) -> np.ndarray:
    """Return the standard deviation (``ddof=1``) of each row; NaN for a single column."""
    if values.shape[1] == 1:
        return np.full(len(values), np.nan)
    return np.std(values, axis=1, ddof=1)
