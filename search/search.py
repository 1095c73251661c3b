"""The search: every configuration of a grid, fitted on every fold, stored as it finishes, ranked at the end.

    build, grid, folds, x, y --> fits not yet in the store --> plan --> pool --> store --> ranking

Stopped anywhere and run again, it goes on with the fits that are missing and ends with the same ranking to the bit.
"""

import math
import os
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from operator import index
from typing import Any

from numpy.typing import ArrayLike
from tqdm import tqdm

from search.configuration import Configuration, canonical, canonical_text
from search.data import as_samples
from search.fingerprint import fingerprint
from search.fits import Build, Fit, Outcome, Problem, run_fits
from search.folds import KFold, Splitter, make_folds
from search.grid import ParameterGrid
from search.plan import Plan, forecast
from search.pool import check_build, open_pool, worker_count
from search.ranking import mean_and_std, rank
from search.result import SearchResult
from search.seeds import fit_seed
from search.store import Store

Outcomes = dict[tuple[str, int], Outcome]


class GridSearch:
    """Cross-validate every configuration of a grid on a pool of processes.

    One fit is one configuration on one fold. Its score is the data loss of the trained model on the fold's validation
    part. Its seed follows from `seed`, the configuration and the fold, so no result depends on the order of the grid,
    on the number of workers or on interruptions. A fit that raises or diverges is stored with its reason; its
    configuration ranks last and the others go on.

    Parameters
    ----------
    build : callable
        ``build(configuration, rng)`` returns a Trainer, ready to fit. A function at the top level of a module, since it
        is sent to other processes by name. The store cannot see a change of its code: then use another store.
    grid : ParameterGrid or iterable of mapping
        The configurations.
    folds : object with scikit-learn's `split`, optional
        By default ``KFold(4, shuffle=True, seed=0)``.
    store : path-like or None, default="search.sqlite"
        The file of finished fits. None keeps them in memory.
    seed : int, default=0
        Of the whole search.
    workers : int, optional
        Number of worker processes, by default one for each processor. One means this process.
    executor : concurrent.futures.Executor, optional
        Runs the fits in place of the pool of processes; it gets the data with each fit.

    Raises
    ------
    TypeError
        If `build` cannot be sent to another process, `folds` has no `split`, or a configuration is no mapping or has a
        value of an unknown type.
    ValueError
        If there is no configuration, or one twice, or `workers` is less than one.

    Notes
    -----
    A script must call `run` under ``if __name__ == "__main__":``, because each spawned worker imports the script.

    Examples
    --------
    >>> import numpy as np
    >>> from search.testing import build_polynomial
    >>> x = np.linspace(-1, 1, 12)
    >>> search = GridSearch(build_polynomial, ParameterGrid(degree=[1, 2]), store=None, workers=1)
    >>> result = search.run(x, x**2, progress=False)
    >>> result.ranking[0].configuration
    {'degree': 2}
    """

    def __init__(
        self,
        build: Build,
        grid: ParameterGrid | Iterable[Mapping[str, Any]],
        folds: Splitter | None = None,
        store: str | os.PathLike[str] | None = "search.sqlite",
        seed: int = 0,
        workers: int | None = None,
        executor: Executor | None = None,
    ) -> None:
        check_build(build)
        worker_count(workers)
        if folds is not None and not callable(getattr(folds, "split", None)):
            raise TypeError(f"folds={folds!r} has no split, expected a splitter, such as KFold(4, shuffle=True, seed=0)")
        self.build = build
        self.configurations = _distinct(grid)
        self.folds = KFold(4, shuffle=True, seed=0) if folds is None else folds
        self.store = store
        self.seed = index(seed)
        self.workers = workers
        self.executor = executor

    def run(self, x: ArrayLike, y: ArrayLike, progress: bool = True) -> SearchResult:
        """Fit what is not yet in the store, and rank.

        Parameters
        ----------
        x, y : array_like
            The training set, real and finite, of shape (samples, features); one dimension means one feature.
        progress : bool, default=True
            Whether to show a progress bar, with the best mean loss so far, on standard error.

        Returns
        -------
        SearchResult
            The ranking, and means to re-train the best.

        Raises
        ------
        StoreError
            If the store is another search's, or cannot be read or written.
        SearchError
            If a worker process dies. Finished fits are kept: run again to go on.
        TypeError, ValueError
            If x, y or the folds are not as expected.
        """
        x_samples, y_samples = as_samples(x, y)
        problem = Problem(self.build, x_samples, y_samples, make_folds(self.folds, x_samples, y_samples))
        made_from = fingerprint(x_samples, y_samples, self.configurations, problem.folds, self.seed)
        with Store(self.store, made_from) as store:
            outcomes = store.outcomes()
            self._run_missing(problem, store, outcomes, progress)
        ranking = rank(self.configurations, outcomes, len(problem.folds))
        return SearchResult(ranking, self.build, self.seed, self.workers, self.executor)

    def _run_missing(self, problem: Problem, store: Store, outcomes: Outcomes, progress: bool) -> None:
        """Run the fits that have no outcome yet, and add theirs to the store and to `outcomes`."""
        n_folds = len(problem.folds)
        texts = [canonical_text(configuration) for configuration in self.configurations]
        missing = [
            Fit(configuration, fold, fit_seed(self.seed, configuration, fold))
            for configuration, text in zip(self.configurations, texts, strict=True)
            for fold in range(n_folds)
            if (text, fold) not in outcomes
        ]
        best = min(_mean_loss(text, outcomes, n_folds) for text in texts)
        total = len(texts) * n_folds
        plan = Plan(missing, worker_count(self.workers))
        with open_pool(problem, self.workers, self.executor) as run:
            if progress and missing:
                tqdm.write(str(forecast(problem, plan, run, worker_count(self.workers))), file=sys.stderr)
            with tqdm(total=total, initial=total - len(missing), unit="fit", disable=not progress) as bar:

                def handle(fit: Fit, outcome: Outcome) -> None:
                    nonlocal best
                    text = canonical_text(fit.configuration)
                    store.add(fit.configuration, fit.fold, outcome)
                    outcomes[text, fit.fold] = outcome
                    best = min(best, _mean_loss(text, outcomes, n_folds))
                    plan.learn(fit, outcome)
                    bar.set_postfix_str(f"best {best:.4g}" if math.isfinite(best) else "", refresh=False)
                    bar.update()

                run(run_fits, plan.chunks(), handle)


def _distinct(grid: Iterable[Mapping[str, Any]]) -> list[Configuration]:
    """Return the canonical configurations of a grid, each of which must differ from the others."""
    configurations = {}
    for given in grid:
        configuration = canonical(given)
        text = canonical_text(configuration)
        if text in configurations:
            raise ValueError(f"grid: configuration {text} is there twice, expected each once")
        configurations[text] = configuration
    if not configurations:
        raise ValueError("grid: no configuration given, expected at least one")
    return list(configurations.values())


def _mean_loss(text: str, outcomes: Outcomes, n_folds: int) -> float:
    """Return the mean loss of a configuration whose fits are all done, else infinity."""
    fits = [outcomes.get((text, fold)) for fold in range(n_folds)]
    losses = [fit.validation_loss for fit in fits if fit is not None and fit.status == "done"]
    return mean_and_std(losses)[0] if len(losses) == n_folds else math.inf
