"""Importance: how much each parameter of the configurations decides their place in the ranking.

ranking --> parameters of each configuration, its place --> random forest, on 4 of 5 parts of the configurations
                                                               |
            the fifth part, one parameter permuted --> by how much the forest predicts worse --> importance

*Why places and not losses?* A few configurations with a huge loss would decide everything. Places have no outliers, are the
same for every score, and let configurations count that diverged or were stopped early.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.errors import SearchError
from search.ranking.comparison import corrected_intervals
from search.ranking.ranking import RankedConfiguration, Ranking, in_order, mean_and_std
from search.space.configuration import as_columns, value_text
from search.table import Rows, text_table
from tinygrad_lab.checks import install_hint

FEWEST = 30  # configurations. With fewer, the values in a fifth of them cannot be permuted enough.
MOST = 2_000  # configurations. A forest of more takes long and learns little from them.
PARTS = 5
PERMUTATIONS = 5


@dataclass(frozen=True)
class ImportantParameter:
    """One parameter.

    Attributes
    ----------
    name : str
        Of the parameter.
    importance : float
        The share of the variance of the places that is due to this parameter, alone and together with others: 0 if it does
        not matter, 1 if nothing else does.
    low, high : float
        95 % confidence interval of the importance.

    Examples
    --------
    >>> ImportantParameter("lr", importance=0.7, low=0.6, high=0.8).name
    'lr'
    """

    name: str
    importance: float
    low: float
    high: float


class Importance(Rows[ImportantParameter]):
    """The parameters that vary in a ranking, the most important first.

    Attributes
    ----------
    r2 : float
        How well a forest predicts the places of configurations that it has not seen. At 0 or below, the importances say
        nothing.
    n : int
        The number of configurations that it was measured on.

    Notes
    -----
    `parameter_importance` returns one, and documents what the numbers mean.

    Examples
    --------
    >>> print(Importance([ImportantParameter("lr", 0.7, 0.6, 0.8)], r2=0.9, n=100).table())
    parameter  importance  low  high
    lr                0.7  0.6   0.8
    """

    def __init__(self, rows: Iterable[ImportantParameter], r2: float, n: int) -> None:
        super().__init__(rows)
        self.r2 = r2
        self.n = n

    def __repr__(self) -> str:
        return f"Importance({len(self)} parameters)"

    def __str__(self) -> str:
        if self.r2 <= 0.0:
            verdict = "The parameters do not predict the place of a configuration, so these importances say nothing."
        else:
            verdict = "Importance: the share of their variance that is due to the parameter, with 95 % intervals."
        return (
            f"{self.table()}\nA random forest of the parameters predicts the places of unseen configurations, of {self.n:,}, "
            f"with R² = {self.r2:.2f}.\n{verdict}"
        )

    def table(self, top: int = 20) -> str:
        """Return the first rows as an aligned text table."""
        body = [[row.name, *(round(x, 3) + 0.0 for x in (row.importance, row.low, row.high))] for row in self._rows[:top]]
        return text_table(["parameter", "importance", "low", "high"], body)


def parameter_importance(ranking: Ranking, seed: int = 0) -> Importance:
    """Measure how important each parameter is for the place of a configuration in the ranking. Needs scikit-learn.

    A random forest learns the places from the parameters. Then the values of one parameter are permuted among configurations
    that the forest has not seen. With this, the mean squared error of the forest rises by 2 Var(f) T, where T is the
    parameter's total share of the variance of f. This is done in each of 5 parts of the configurations; the interval over
    the parts is that of `search.ranking.comparison.compare`.

    Parameters
    ----------
    ranking : Ranking
        With at least 30 configurations. Equal results share a place, and so do all that diverged. Those that were stopped early
        have the place that the ranking gives them. Configurations that failed or crashed are left out. Of more than 2,000, so
        many are drawn at random.
    seed : int, default=0
        Of forests, parts and permutations.

    Returns
    -------
    Importance
        A row for each parameter that varies.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    SearchError
        If there are too few configurations, or no parameter varies.

    Notes
    -----
    The importance is that in the space that was searched: a learning rate is less important in a narrower range. If a strategy
    chose the configurations by their losses, as OptunaSampler does, good values are over-represented. Two parameters that
    always vary together share their importance, and a parameter that is left out for some values of another one takes a part
    of the importance of that one.

    References
    ----------
    Breiman (2001), "Random forests", Machine Learning 45: the forest and permutation importance.
    Gregorutti, Michel and Saint-Pierre (2017), "Correlation and variable importance in random forests", Statistics and
    Computing 27, equation 2: permutation raises the error by twice the share of the variance.
    Hutter, Hoos and Leyton-Brown (2014), "An efficient approach for assessing hyperparameter importance", ICML: forests for
    the results of a search.

    Examples
    --------
    >>> from search import Outcome
    >>> from search.ranking.ranking import rank
    >>> from search.space.grid import ParameterGrid
    >>> grid = ParameterGrid(lr=[0.1, 0.2, 0.3, 0.4, 0.5], l1=[0, 1, 2, 3, 4, 5])
    >>> losses = {x.text: 10.0 * x["lr"] + 0.1 * x["l1"] for x in grid}
    >>> found = parameter_importance(rank(grid, {(text, 0): Outcome("done", loss) for text, loss in losses.items()}, n_folds=1))
    >>> [row.name for row in found], found[0].low > found[1].high
    (['lr', 'l1'], True)
    """
    try:
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.inspection import permutation_importance
        from sklearn.model_selection import KFold
    except ImportError:
        raise ImportError(f"importance needs scikit-learn: {install_hint('sklearn')}") from None
    rows = [row for row in ranking if row.status in ("done", "stopped", "diverged")]
    if len(rows) < FEWEST:
        raise SearchError(
            f"importance: {len(rows)} configurations were ranked, expected at least {FEWEST}; search more of them"
        )
    places = _places(rows)
    if len(rows) > MOST:
        drawn = np.sort(np.random.default_rng(seed).choice(len(rows), MOST, replace=False))
        rows, places = [rows[i] for i in drawn], places[drawn]
    names, codes = _varying(rows)
    if not names or not places.var():
        same = "results" if names else "parameters"
        raise SearchError(
            f"importance: all configurations have the same {same}, expected different ones; search a larger space"
        )
    drops, predicted = [], np.empty(len(rows))
    folds = list(KFold(PARTS, shuffle=True, random_state=seed).split(codes))
    for train, unseen in folds:
        forest = RandomForestRegressor(random_state=seed).fit(codes[train], places[train])
        predicted[unseen] = forest.predict(codes[unseen])
        permuted = permutation_importance(
            forest,
            codes[unseen],
            places[unseen],
            scoring="neg_mean_squared_error",
            n_repeats=PERMUTATIONS,
            random_state=seed,
        )
        drops.append(permuted.importances_mean / (2.0 * places.var()))
    means, lows, highs = corrected_intervals(np.array(drops).T, folds, 0.95)
    found = [ImportantParameter(name, float(means[i]), float(lows[i]), float(highs[i])) for i, name in enumerate(names)]
    r2 = 1.0 - float(np.mean((places - predicted) ** 2) / places.var())
    return Importance(sorted(found, key=lambda row: (-row.importance, row.name)), r2, len(rows))


def _places(rows: Sequence[RankedConfiguration]) -> np.ndarray:
    """Return the places from 0, for the best, to 1. Equal results share the mean of their places."""
    from scipy.stats import rankdata

    first: dict[Any, int] = {}
    results = [
        row.status
        if row.status == "diverged"
        else (row.last_round, mean_and_std(row.objectives)[0] if row.last_round else row.objective)
        for row in rows
    ]
    return (rankdata([first.setdefault(result, i) for i, result in enumerate(results)]) - 1.0) / (len(rows) - 1.0)


def _varying(rows: Sequence[RankedConfiguration]) -> tuple[list[str], np.ndarray]:
    """Return the parameters that vary, and their values as numbers of shape (rows, parameters).

    A forest only compares values, so each is replaced by its position among the different values in order. A parameter that a
    configuration does not have is -1.
    """
    missing = object()
    names, values = as_columns([row.configuration for row in rows], missing)
    columns = {}
    for name, column in zip(names, zip(*values, strict=True), strict=True):
        present = in_order([value for value in column if value is not missing])
        positions = {value_text(value): i for i, value in enumerate(present)}
        codes = [-1 if value is missing else positions[value_text(value)] for value in column]
        if len(set(codes)) > 1:
            columns[name] = codes
    return list(columns), np.array(list(columns.values()), dtype=float).T
