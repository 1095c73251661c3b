"""The comparison: which configurations of a ranking differ from the best one by more than the scatter between folds.

    losses of all configurations --average over repeats, minus the best's loss on the same fold--> paired differences
        --Student's t, corrected for overlapping training sets--> interval --contains 0--> not distinguishable from the best

Some folds are harder than others, and a hard fold is hard for every configuration. This effect cancels in the difference on the
same fold. It does not cancel when two means and their standard deviations are compared.
"""

import math
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass

import numpy as np

from search.errors import SearchError
from search.ranking.measure import LOSS, Measure
from search.ranking.ranking import Ranking
from search.space.configuration import Configuration, as_columns
from search.table import Rows, text_table


@dataclass(frozen=True)
class ComparedConfiguration:
    """One configuration beside the best.

    Attributes
    ----------
    rank : int
        In the ranking.
    configuration : dict
        What was fitted.
    mean : float
        Mean validation loss or, if a score decides, mean score, as in the ranking.
    standard_error : float
        Of that mean: the standard deviation over the folds (``ddof=1``), divided by the square root of their number; NaN with
        one fold.
    difference : float
        Mean over the folds of its loss minus the loss of the best, or of its score minus the score of the best.
    low, high : float
        Confidence interval of the difference; NaN with one fold.
    is_distinguishable : bool
        Whether the whole interval is on the side of 0 that is worse than the best: above 0 for a loss, below 0 for a score.

    Examples
    --------
    >>> import numpy as np
    >>> from search import GridSearch, ParameterGrid
    >>> from search.testing import build_polynomial
    >>> x = np.linspace(-1, 1, 12)
    >>> search = GridSearch(build_polynomial, ParameterGrid(degree=[1, 2]), store=None, workers=1)
    >>> result = search.run(x, x**2, progress=False)
    >>> second = result.comparison()[1]
    >>> second.configuration, second.rank, second.difference > 0
    ({'degree': 1}, 2, True)
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
    """The configurations of a ranking whose fits are all done, each compared with the best, in order of their rank.

    Parameters
    ----------
    rows : iterable of ComparedConfiguration
        In order of their rank; the first is the best.
    n_folds : int
        The number of folds in each difference.
    confidence : float
        Of the intervals.
    measure : Measure, optional
        What decides the ranking, by default the loss.

    Notes
    -----
    `compare` returns one, and documents what the intervals mean.

    Examples
    --------
    >>> import numpy as np
    >>> from search import GridSearch, ParameterGrid
    >>> from search.testing import build_polynomial
    >>> x = np.linspace(-1, 1, 12)
    >>> search = GridSearch(build_polynomial, ParameterGrid(degree=[1, 2]), store=None, workers=1)
    >>> result = search.run(x, x**2, progress=False)
    >>> comparison = result.comparison()
    >>> [row.configuration for row in comparison], comparison.n_folds
    ([{'degree': 2}, {'degree': 1}], 4)
    """

    def __init__(self, rows: Iterable[ComparedConfiguration], n_folds: int, confidence: float, measure: Measure = LOSS) -> None:
        super().__init__(rows)
        self.measure = measure
        self.n_folds = n_folds
        self.confidence = confidence

    def __str__(self) -> str:
        return f"{self.table()}\n{self._summary()}"

    @property
    def best(self) -> ComparedConfiguration:
        """The configuration of the lowest mean loss, or of the highest mean score."""
        if not self._rows:
            raise SearchError("every configuration failed or diverged; the ranking gives the reasons")
        return self._rows[0]

    @property
    def indistinguishable(self) -> tuple[ComparedConfiguration, ...]:
        """Those whose interval is not entirely on the worse side of 0, including the best."""
        return tuple(row for row in self if not row.is_distinguishable)

    @property
    def within_one_standard_error(self) -> tuple[ComparedConfiguration, ...]:
        """Those whose mean is worse than that of the best by at most its standard error; with one fold, those of equal mean."""
        if not self._rows:
            return ()
        allowance = 0.0 if math.isnan(self.best.standard_error) else self.best.standard_error
        if self.measure.is_score:
            return tuple(row for row in self if row.mean >= self.best.mean - allowance)
        return tuple(row for row in self if row.mean <= self.best.mean + allowance)

    def simplest(self, complexity: Callable[[Configuration], float]) -> ComparedConfiguration:
        """Return the simplest configuration within one standard error of the best: the one-standard-error rule.

        Parameters
        ----------
        complexity : callable
            From a configuration to a number, such as its number of parameters. Of equally simple configurations, the one
            that is ranked first is returned.

        Raises
        ------
        SearchError
            If no configuration is done.

        References
        ----------
        L. Breiman, J. Friedman, R. Olshen and C. Stone, Classification and Regression Trees, 1984, chapter 3.
        """
        candidates = self.within_one_standard_error or (self.best,)  # if there is none, `best` raises the error
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
        side = "below" if self.measure.is_score else "above"
        return (
            f"Not distinguishable from the best: {len(self.indistinguishable)} of {len(self)} configurations, itself included. "
            f"The {100.0 * self.confidence:g} % interval\n"
            f"of their difference to it, on the same {self.n_folds} folds, does not lie {side} 0.\n"
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

    If a score decides, its negative takes the place of the loss, and means, differences and bounds are shown with their sign.

    There are K folds. With d_k the loss on fold k minus the loss of the best, n samples in a training part and m samples in a
    validation part, the interval is

        mean(d) ± t(K - 1) √((1/K + m/n) var(d))

    Student's interval, for independent d_k, has 1/K only. The d_k of folds are not independent, because the training parts
    share samples, so that interval would be too narrow. m/n is the correction of Nadeau and Bengio. It was derived for random
    splits and is commonly used for folds.

    Parameters
    ----------
    ranking : Ranking
        Its configurations that are not done are ignored.
    folds : sequence of (training indices, validation indices)
        Of the search. Only their sizes are used.
    repeats : int, default=1
        How often each fold was fitted, each time from other initial weights. ``losses[r * len(folds) + k]`` of a row is fold
        k in repeat r. Losses are averaged over repeats before the differences are taken. A repeat makes the loss on a fold
        more precise, but it does not count as another fold.
    confidence : float, default=0.95
        Of the intervals, between 0 and 1.

    Returns
    -------
    Comparison
        In order of the ranking. With one fold it has no intervals, and nothing is distinguishable.

    Raises
    ------
    ValueError
        If a configuration does not have one loss for each fold and repeat, or `repeats` or `confidence` is out of range.

    Notes
    -----
    A 95 % interval means: if the two configurations had been chosen before the search, it would contain the difference of
    their expected losses in about 95 of 100 searches. It does not mean:

    - That configurations are equal. Four folds leave three degrees of freedom and a factor t of 3.2, so only a difference that
      is large compared with its scatter is found. "Not distinguishable" means that these folds cannot decide. A configuration
      with a very large loss on a single fold is not distinguishable either, because its interval is as wide as that loss.
    - That all intervals are right at once. Of 400 configurations that are as good as the best, some would be called worse.
    - That the best configuration is really the best. It was chosen by the same losses, including luck. So its mean is too low,
      and the differences to it are too large.

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
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"compare: confidence={confidence!r}, expected a number between 0 and 1, such as 0.95")
    if repeats < 1:
        raise ValueError(f"compare: repeats={repeats!r}, expected at least 1")
    n_folds = len(folds)
    done = ranking.done
    for row in done:
        if len(row.objectives) != n_folds * repeats:
            raise ValueError(
                f"compare: configuration of rank {row.rank} has {len(row.objectives)} {ranking.measure.plural}, "
                f"expected {n_folds * repeats}: one for each of {n_folds} folds in each of {repeats} repeats"
            )
    if not done:
        return Comparison((), n_folds, confidence, ranking.measure)

    with np.errstate(over="ignore", invalid="ignore"):  # the square of a finite loss may overflow
        losses = np.array([row.objectives for row in done]).reshape(len(done), repeats, n_folds).mean(axis=1)
        paired = losses - losses[0]
        standard_errors = _deviations(losses) / math.sqrt(n_folds)
        differences, lows, highs = corrected_intervals(paired, folds, confidence)
    shown = ranking.measure.shown
    bounds = (highs, lows) if ranking.measure.is_score else (lows, highs)
    rows = [
        ComparedConfiguration(
            rank=row.rank,
            configuration=row.configuration,
            mean=row.value,
            standard_error=float(standard_errors[i]),
            difference=shown(float(differences[i])),
            low=shown(float(bounds[0][i])),
            high=shown(float(bounds[1][i])),
            is_distinguishable=bool(lows[i] > 0.0),
        )
        for i, row in enumerate(done)
    ]
    return Comparison(rows, n_folds, confidence, ranking.measure)


def corrected_intervals(
    paired: np.ndarray, folds: Sequence[tuple[Sized, Sized]], confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, low and high of paired differences of shape (configurations, folds); `compare` has the equation."""
    from scipy.stats import t

    n_folds = len(folds)
    overlap = sum(len(validation) for _, validation in folds) / sum(len(train) for train, _ in folds)
    with np.errstate(over="ignore", invalid="ignore"):
        means = paired.mean(axis=1)
        margins = t.ppf((1.0 + confidence) / 2.0, n_folds - 1) * math.sqrt(1.0 / n_folds + overlap) * _deviations(paired)
        return means, means - margins, means + margins


def _deviations(values: np.ndarray) -> np.ndarray:
    """Return the standard deviation (``ddof=1``) of each row; NaN for a single column."""
    if values.shape[1] == 1:
        return np.full(len(values), np.nan)
    return np.std(values, axis=1, ddof=1)
