"""The result of a search: its ranking, and the ways to go on from it.

SearchResult.ranking --> retrain: the best, on the whole training set, tested --> Retrained
                     --> seed_distribution: one of them, from many seeds      --> array of test losses
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.configuration import canonical
from search.data import Array
from search.errors import SearchError
from search.fits import Build, Fit, Trained
from search.ranking import RankedConfiguration, Ranking
from search.retraining import Retrained, RetrainedConfiguration, Samples, retraining_problem, run_in_order
from search.seeds import fit_seed


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found. As a sequence it is its ranking.

    Attributes
    ----------
    ranking : Ranking
        The configurations, best first.
    build : callable
        As given to the search, like `seed`, `workers` and `executor`.
    seed : int
        Of the search.
    workers : int or None
        Number of worker processes.
    executor : concurrent.futures.Executor or None
        What runs the fits in place of the pool of processes.

    Examples
    --------
    >>> from search import GridSearch, ParameterGrid
    >>> from search.testing import build_polynomial
    >>> x = np.linspace(-1, 1, 12)
    >>> search = GridSearch(build_polynomial, ParameterGrid(degree=[1, 2, 3]), store=None, workers=1)
    >>> result = search.run(x, x**2, progress=False)
    >>> len(result), result[0].configuration
    (3, {'degree': 2})
    >>> retrained = result.retrain(top=2, train=(x, x**2), test=([0.5, 0.7], [0.25, 0.49]), progress=False)
    >>> [row.configuration for row in retrained]
    [{'degree': 2}, {'degree': 3}]
    """

    ranking: Ranking
    build: Build
    seed: int
    workers: int | None = None
    executor: Executor | None = None

    def __len__(self) -> int:
        return len(self.ranking)

    def __iter__(self) -> Iterator[RankedConfiguration]:
        return iter(self.ranking)

    def __getitem__(self, position: int) -> RankedConfiguration:
        return self.ranking[position]

    def __str__(self) -> str:
        return str(self.ranking)

    def retrain(self, top: int = 20, *, train: Samples, test: Samples, progress: bool = True) -> Retrained:
        """Train the best configurations again, on the whole training set, and test them.

        Each starts from a seed of its own, which follows from the search's seed and the configuration.

        Parameters
        ----------
        top : int, default=20
            How many, at most; configurations that failed or diverged in the search are left out.
        train, test : pair of array_like
            x and y of the training and the test set.
        progress : bool, default=True
            Whether to show a progress bar on standard error.

        Returns
        -------
        Retrained
            In order of the ranking.

        Raises
        ------
        SearchError
            If no configuration of the ranking is done, or a worker process dies.
        TypeError, ValueError
            If the data are not as expected, or `top` is less than one.
        """
        if top < 1:
            raise ValueError(f"retrain: top={top}, expected at least 1")
        chosen = [row for row in self.ranking if row.status == "done"][:top]
        if not chosen:
            raise SearchError("retrain: every configuration failed or diverged; the ranking gives the reasons")
        fits = [Fit(row.configuration, 0, self._seed(row.configuration, "retrain"), keep=True) for row in chosen]
        problem = retraining_problem(self.build, train, test)
        outcomes = run_in_order(problem, fits, self.workers, self.executor, progress)
        rows = []
        for row, outcome in zip(chosen, outcomes, strict=True):
            trained = outcome.trained or Trained({}, {})
            rows.append(
                RetrainedConfiguration(
                    rank=row.rank,
                    configuration=row.configuration,
                    mean=row.mean,
                    train_loss=outcome.train_loss,
                    test_loss=outcome.validation_loss,
                    status=outcome.status,
                    reason=outcome.reason,
                    history=trained.history,
                    state_dict=trained.state_dict,
                    seconds=outcome.seconds,
                )
            )
        return Retrained(rows)

    def seed_distribution(
        self,
        configuration: Mapping[str, Any],
        seeds: int = 20,
        *,
        train: Samples,
        test: Samples,
        progress: bool = True,
    ) -> Array:
        """Train one configuration on the whole training set from many seeds, and test each network.

        Parameters
        ----------
        configuration : mapping
            What to train, in the ranking or not.
        seeds : int, default=20
            How many; more of them extend the array and leave its beginning as it was.
        train, test : pair of array_like
            x and y of the training and the test set.
        progress : bool, default=True
            Whether to show a progress bar on standard error.

        Returns
        -------
        ndarray of float, shape (seeds,)
            Test losses; NaN where the training failed or diverged.

        Raises
        ------
        SearchError
            If a worker process dies.
        TypeError, ValueError
            If the data are not as expected, or `seeds` is less than one.
        """
        if seeds < 1:
            raise ValueError(f"seed_distribution: seeds={seeds}, expected at least 1")
        plain = canonical(configuration)
        fits = [Fit(plain, 0, self._seed(plain, f"seed {number}")) for number in range(seeds)]
        problem = retraining_problem(self.build, train, test)
        outcomes = run_in_order(problem, fits, self.workers, self.executor, progress)
        return np.array([outcome.validation_loss if outcome.status == "done" else np.nan for outcome in outcomes])

    def _seed(self, configuration: Mapping[str, Any], label: str) -> np.random.SeedSequence:
        return fit_seed(self.seed, configuration, label)
